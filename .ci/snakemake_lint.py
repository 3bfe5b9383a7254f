"""Run `snakemake --lint` and allow exactly one complaint: that shell rules name no conda environment or container.

The stages run in the project's own environment (pyproject.toml, requirements.lock); an environment a rule would
be a second, diverging list of the same packages.
"""

import re
import subprocess
import sys

ALLOWED = "Specify a conda environment or container for each rule."
BULLET = re.compile(r"^\s+\* (?P<complaint>[^\n:]+?)(?::|$)", re.MULTILINE)


def refused(text: str) -> list[str]:
    """Return the complaints in the lint's text that are not the allowed one."""
    found = [match["complaint"].strip() for match in BULLET.finditer(text)]
    return [complaint for complaint in found if not ALLOWED.startswith(complaint.rstrip("."))]


def main() -> int:
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], capture_output=True, text=True)
    text = done.stdout + done.stderr
    complaints = refused(text)
    # Exit code 1 says that the lint complained; without a single bullet it failed otherwise (no parse).
    if complaints or (done.returncode != 0 and ALLOWED not in text):
        print(text, file=sys.stderr)
        return 1
    print("snakemake --lint: nothing but the conda environments that we do not use")
    return 0


if __name__ == "__main__":
    sys.exit(main())

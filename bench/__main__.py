"""Run `python -m bench`."""

import os
import sys

# One thread a process, unless the user says otherwise: on a few shared cores two OpenMP threads can fall to a
# fraction of one, and with one thread results do not depend on the number of cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from bench.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""What people say of a study's numbers: one page of text that the report and the published page print as it stands.

A study names the file (`discussion`). It enters no digest and no table: words change no result. Markdown of the
plainest kind: paragraphs parted by empty lines, headings that begin with `## `, lists whose items begin with `- `.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from bench.errors import BenchError
from bench.study.place import own_file
from bench.study.schema import Study

FILE = "discussion.md"
"""Its name in a published study."""


class Block(NamedTuple):
    """A heading, a paragraph or an item of a list, its lines joined."""

    kind: Literal["heading", "paragraph", "item"]
    text: str


def path_of(study: Study) -> Path | None:
    """Return the file of the study's discussion; None where it has none. Raises BenchError if it is missing."""
    if study.discussion is None:
        return None
    path = Path(own_file(study.discussion))
    if not path.is_file():
        raise BenchError(
            f"{path}: no such file; the study names it as its discussion: write it, or leave the key out"
        )
    return path


def read_discussion(path: Path | None) -> list[Block]:
    """Return the blocks of a discussion in order; none without a file."""
    if path is None:
        return []
    blocks: list[Block] = []
    open_ended = False
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.strip()
        if not words:
            open_ended = False
        elif words.startswith("## "):
            blocks.append(Block("heading", words[3:]))
            open_ended = False
        elif words.startswith("- "):
            blocks.append(Block("item", words[2:]))
            open_ended = True
        elif open_ended:
            blocks[-1] = blocks[-1]._replace(text=f"{blocks[-1].text} {words}")
        else:
            blocks.append(Block("paragraph", words))
            open_ended = True
    return blocks

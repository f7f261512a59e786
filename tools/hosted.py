"""Write the course's public address into its notebooks and README. Called by ``make hosted REPOSITORY=ADDRESS``.

On Colab or Kaggle the first code cell of each notebook clones what is at the address, and the badges lead there. Until
it is written, that cell clones nothing: an address that nobody has yet could become a stranger's, whose code would run.
A fork writes its own, which takes the place of the one before. Notebooks keep their outputs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from execute import ROOT, numbered

ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Colab's badge opens what is on GitHub. The cell gives the address to a shell, so it has none of a shell's signs."""

BRANCH = "main"
"""The branch whose notebooks the badges open."""

CLONED = re.compile(r'^(    repository = )"[^"]*"', re.MULTILINE)
"""Where the first code cell has the address."""

BADGES = re.compile(r"^(?:- [\w ]+ )?\[!\[Open \d\d in Colab\]\(.*\n", re.MULTILINE)
"""A line of badges, in a notebook or the README."""

MARK = "<!-- badges, a line a notebook, from: make hosted -->\n"
"""What the README's badges follow."""


def main() -> int:
    """Write the address that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", help="https://github.com/OWNER/NAME")
    address = parser.parse_args().repository.removesuffix("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        print(f"{address!r} is no address of a repository; write https://github.com/OWNER/NAME", file=sys.stderr)
        return 1
    for path in numbered():
        publish(path, address)
    readme = ROOT / "README.md"
    before, after = BADGES.sub("", readme.read_text(encoding="utf-8")).split(MARK)
    rows = "".join(f"- {path.stem.replace('_', ' ')} {badges(path, address)}" for path in numbered())
    readme.write_text(f"{before}{MARK}{rows}{after}", encoding="utf-8")
    print(f"{len(numbered())} notebooks and the README have the address {address}; commit them, and push to {BRANCH}")
    return 0


def publish(path: Path, address: str) -> None:
    """Write the address into a notebook: into its first code cell, and as badges below its title.

    Raises ``ValueError`` where that cell has no place for it.
    """
    notebook = nbformat.read(path, as_version=4)
    frame, cell = notebook.cells[0], next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.source, places = CLONED.subn(rf'\1"{address}"', cell.source)
    if places != 1:
        raise ValueError(f"{path.name}: its first code cell has no line 'repository = \"\"'")
    title, text = BADGES.sub("", frame.source).split("\n", 1)
    frame.source = f"{title}\n\n{badges(path, address)}\n{text.lstrip()}"
    nbformat.write(notebook, path)


def badges(path: Path, address: str) -> str:
    """Return a notebook's two badges: a line of Markdown, its end included."""
    number, page = path.stem[:2], f"{address}/blob/{BRANCH}/notebooks/{path.name}"
    colab = page.replace("https://github.com", "https://colab.research.google.com/github", 1)
    return (
        f"[![Open {number} in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open {number} in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
        f"(https://kaggle.com/kernels/welcome?src={page})\n"
    )


if __name__ == "__main__":
    sys.exit(main())

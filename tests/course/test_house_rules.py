"""House rules of notebooks: numbers instead of booleans, words for every picture, few imports of the package."""

import re

import nbformat
import pytest

from lungseg_helpers.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def printed_lines(output: dict) -> list[str]:
    """Return what an output prints: the lines of a stream, of a value's text, and the cells of a table."""
    data = output.get("data", {})
    fields = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", data.get("text/html", ""), re.DOTALL)
    return [*output.get("text", "").splitlines(), *data.get("text/plain", "").splitlines(), *fields]


def says_only_a_boolean(line: str) -> bool:
    """Return whether a line says True or False where it should say a number: alone, or as the answer to a name."""
    boolean = r"\b(?:True|False)_?\b"
    alone = re.search(boolean, line) and not re.search(r"\d", line)
    return bool(alone or re.search(rf"[\w)\]\"']\s*[:=?]\s*(?:np\.)?{boolean}", line))


def pictures_and_captions(cells: list) -> str:
    """Return a letter for each cell that shows a picture, and one for each caption, in order: "pcpc"."""
    order = ""
    for cell in cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            order += "p"
        if cell.cell_type == "markdown":
            order += "c" * len(re.findall(r"^\*Figures?: ", cell.source, re.MULTILINE))
    return order


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("True", True),
        ("[False, True]", True),
        ("the two agree: False", True),
        ("np.True_", True),
        ("slice 12 has tumour: True", True),
        ("equal=True at 0.5", True),
        ("voxels that differ: 0", False),
        ("Truecolor and Falsetto", False),
        ("3 True and 5 False", False),
    ],
)
def test_a_boolean_is_told_from_a_number(line, wrong):
    assert says_only_a_boolean(line) == wrong


@each_notebook
def test_no_printed_line_says_only_true_or_false(path):
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            for line in printed_lines(output):
                assert not says_only_a_boolean(line), f"{line!r} is printed by: {cell.source[:200]}"


@each_notebook
def test_every_picture_has_its_words(path):
    cells = nbformat.read(path, 4).cells
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in (kind for kind in data if kind.startswith("image/")):
                words = output.metadata.get(kind, {}).get("alt", "")
                assert len(words.split()) >= 5, f"a picture without alternative text: {cell.source[-200:]}"
            for words in re.findall(r"<video\b.*?>([^<]*)</video>", data.get("text/html", ""), re.DOTALL):
                assert len(words.split()) >= 5, f"a film without words: {cell.source[-200:]}"
    assert "pp" not in pictures_and_captions(cells) + "p", "a picture without its caption before the next one"


@each_notebook
def test_few_places_of_the_package_are_imported(path):
    # the first cell is the same in each notebook, and folded: it says what the notebook runs on
    _, *code = (cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    imports = re.findall(r"^(?:from|import) lungseg_helpers\b.*", "\n".join(code), re.MULTILINE)
    assert len(imports) <= 6, "a reader keeps no more places of the package in mind:\n" + "\n".join(imports)

"""The glossary: sorted, without a term twice; on the road from 01 on, no term comes before its link or explanation."""

import functools
import itertools
import re

import nbformat
import pytest

from lungseg_helpers.paths import ROOT

GLOSSARY = ROOT / "notebooks" / "glossary.md"
ROAD = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# words of everyday language too, which a text cannot do without
EVERYDAY = {"step": "one voxel on, a part of a rule or of the road; a training's step is linked where it first comes"}


@functools.cache
def entries() -> dict[str, str]:
    """Return what stands below each term, in order."""
    parts = GLOSSARY.read_text(encoding="utf-8").split("\n### ")[1:]
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


def anchor(name: str) -> str:
    """Return the anchor of a term, as JupyterLab makes them of headings: it changes spaces alone."""
    return name.replace(" ", "-")


@functools.cache
def spellings() -> dict[str, list[str]]:
    """Return how a text spells each term: as the bold words that its entry begins with, otherwise as its heading."""
    bold = {name: re.match(r"\s*\*\*(.+?)\.\*\*", text) for name, text in entries().items()}
    return {name: found[1].split(", ") if found else [name] for name, found in bold.items()}


def word(spelling: str) -> str:
    """Return the pattern of a whole word or words, one or many, as a sentence spells them."""
    singular = re.escape(spelling).replace(r"\ ", "[- \n]").replace(r"\-", "[- \n]")
    many = singular[:-1] + "(?:y|ies)" if singular.endswith("y") else singular + "(?:e?s)?"
    return rf"(?<![\w-])(?i:{many})(?![\w-])"


def prose(cells: list) -> list[str]:
    """Return the paragraphs of a notebook, links to the glossary in them.

    Without what comes before the first section (the frame, and the picture on the first screen), headings, code,
    formulas, names of other notebooks and addresses.
    """
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = text[text.index("\n## ") :]
    for left_out in (r"^```.*?^```", r"^#+ .*?$", r"`[^`]*`", r"\$\$?[^$]*\$\$?", r"\[[^]]*\]\([^)]*\.ipynb[^)]*\)"):
        text = re.sub(left_out, "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\]\((?!glossary\.md)[^)]*\)", "]", text)
    return [paragraph for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def too_early(paragraphs: list[str], name: str, link_alone: bool = False) -> str | None:
    """Return the first paragraph with the term, unless it explains it: links it to the glossary, or has it in bold.

    With ``link_alone`` bold counts as use. A longer term that holds this one is no use of it: a sliding window is
    no window.
    """
    own = spellings()[name]
    others = itertools.chain(*(each for other, each in spellings().items() if other != name))
    longer = [other for other in others if any(re.search(word(spelling), other) for spelling in own)]
    used = re.compile("|".join(map(word, own)))
    for paragraph in paragraphs:
        if f"](glossary.md#{anchor(name)})" in paragraph:
            return None
        shown = re.sub(r"\]\([^)]*\)", "]", paragraph)
        if not link_alone and any(used.fullmatch(bold) for bold in re.findall(r"\*\*([^*]+)\*\*", shown)):
            return None
        for other in longer:
            shown = re.sub(word(other), "", shown)
        if used.search(shown):
            return paragraph
    return None


def test_a_term_has_the_same_anchor_in_jupyterlab_and_on_github():
    # GitHub also writes small letters and drops all but letters, digits, _ and -
    for name in entries():
        assert anchor(name) == re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")


def test_terms_are_sorted_and_each_is_there_once():
    terms = re.findall(r"^### (.+)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(terms) == len(set(terms)) > 40
    assert terms == sorted(terms, key=lambda term: term.replace("-", " "))


def test_every_link_to_the_glossary_has_its_term_and_every_term_its_link():
    known, met = {anchor(name) for name in entries()}, set()
    for path in ROAD:
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        linked = re.findall(r"\]\(glossary\.md#([^)]*)\)", text)
        assert set(linked) <= known, f"{path.name}: {set(linked) - known}"
        assert len(linked) == len(set(linked)), f"{path.name}: a term is linked at its first use alone"
        met |= set(linked)
    assert not known - met, "no notebook leads to these terms"


def test_no_term_comes_before_its_explanation():
    road = list(itertools.chain(*(prose(nbformat.read(path, 4).cells) for path in ROAD)))
    early = {name: found for name in entries().keys() - EVERYDAY if (found := too_early(road, name))}
    assert not early, "\n".join(f"{name}: {paragraph[:300]}" for name, paragraph in early.items())


@pytest.mark.parametrize("path", ROAD, ids=lambda path: path.stem)
def test_a_term_is_linked_where_the_notebook_first_has_it(path):
    paragraphs = prose(nbformat.read(path, 4).cells)
    text = "\n".join(paragraphs)
    linked = [name for name in entries() if f"](glossary.md#{anchor(name)})" in text and name not in EVERYDAY]
    late = {name: found for name in linked if (found := too_early(paragraphs, name, link_alone=True))}
    assert not late, "\n".join(f"{name}: {paragraph[:300]}" for name, paragraph in late.items())


@pytest.mark.parametrize(
    ("name", "text", "early"),
    [
        ("window", "Two windows meet.\n\nA [window](glossary.md#window) is a box.", True),
        ("window", "A [window](glossary.md#window) is a box.\n\nTwo windows meet.", False),
        ("window", "A **window** is a box, and windows meet.", False),
        ("window", "A sliding window meets `window`.\n\n### Window\n\nA **window** is a box.", False),
        ("label", "A pseudo-label counts.\n\nAn unlabelled scan has no [label](glossary.md#label).", False),
        ("hu", "Air has −1000 HU.\n\nA [Hounsfield unit](glossary.md#hu) is a step.", True),
        ("axial coronal sagittal", "A Sagittal cut.\n\nAn **axial** cut.", True),
        ("artefact", "See [artefacts](02_artefacts.ipynb), and [here](https://artefact.org).", False),
    ],
)
def test_first_uses_are_told_from_explanations(name, text, early):
    cells = [nbformat.v4.new_markdown_cell("A window, a label and a sagittal cut of 40 HU.\n\n## Section\n\n" + text)]
    assert bool(too_early(prose(cells), name)) == early


def test_a_term_is_explained_and_general_ones_have_their_counterpart():
    terms = entries()
    assert all(len(text.split()) > 5 for text in terms.values())
    general = "ct slice voxel spacing hu window affine orientation mask lesion nodule case patient segmentation dice"
    for name in [*general.split(), "partial volume", "ground truth", "label"]:
        assert "↔" in terms[name], name

"""The glossary: sorted, without a term twice, and every link of a notebook leads to one of its terms."""

import re

import nbformat

from lungseg_helpers.paths import ROOT

GLOSSARY = ROOT / "notebooks" / "glossary.md"


def headings() -> list[str]:
    """Return the terms in order."""
    return re.findall(r"^### (.+)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)


def anchors() -> list[str]:
    """Return the anchors of the terms in order, as JupyterLab makes them of headings: it changes spaces alone."""
    return [name.replace(" ", "-") for name in headings()]


def test_a_term_has_the_same_anchor_in_jupyterlab_and_on_github():
    # GitHub also writes small letters and drops all but letters, digits, _ and -
    assert anchors() == [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings()]


def test_terms_are_sorted_and_each_is_there_once():
    terms = anchors()
    assert len(terms) == len(set(terms)) > 40
    assert terms == sorted(terms, key=lambda term: term.replace("-", " "))


def test_every_link_to_the_glossary_has_its_term():
    known = set(anchors())
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        linked = re.findall(r"\]\(glossary\.md#([^)]*)\)", text)
        assert set(linked) <= known, f"{path.name}: {set(linked) - known}"
        assert len(linked) == len(set(linked)), f"{path.name}: a term is linked at its first use alone"


def test_a_term_is_explained_and_general_ones_have_their_counterpart():
    parts = GLOSSARY.read_text(encoding="utf-8").split("\n### ")[1:]
    terms = {name: text for name, _, text in (part.partition("\n") for part in parts)}
    assert all(len(text.split()) > 5 for text in terms.values())
    general = "ct slice voxel spacing hu window affine orientation mask lesion nodule case patient segmentation dice"
    for name in [*general.split(), "partial volume", "ground truth", "label"]:
        assert "↔" in terms[name], name

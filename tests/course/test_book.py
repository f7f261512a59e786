"""The course as a web site (``make book``): every page is there, every link leads somewhere, nothing is cut or unnamed.

What needs the built site is skipped where the book's packages are missing: ``make run`` does not install them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from imageio_ffmpeg import get_ffmpeg_exe

from lungseg_helpers.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
REFERENCES = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
FILM = "LIDC-IDRI-0001.mp4"
LONG = 12


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as ``make book`` does, with one film; a warning is a failure."""
    for name in ("sphinx", "myst_nb", "furo", "sphinxcontrib.bibtex"):
        pytest.importorskip(name, reason="the book's packages are not installed: make book does that")
    folder = tmp_path_factory.mktemp("book")
    (folder / "videos").mkdir()
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64:rate=5"]
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *source, folder / "videos" / FILM], check=True)
    python = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    for where, more in (("site", ["-E"]), ("site/print", ["-b", "singlehtml"])):
        built = subprocess.run(
            [*python, "-c", ROOT / "book", "-d", folder / "doctrees", *more, ROOT, folder / where],
            env={**os.environ, "LUNGSEG_OUTPUTS": str(folder), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    """Return every page of the site, read; the one long page for paper is made of the same."""
    paths = [path for path in site.rglob("*.html") if path.parent.name != "print"]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


def test_every_notebook_has_its_page_and_the_front_page_leads_there(site, pages):
    linked = {link["href"] for link in pages[site / "index.html"].find_all("a", href=True)}
    for path in NOTEBOOKS:
        assert f"notebooks/{path.stem}.html" in linked
        title = nbformat.read(path, 4).cells[0].source.splitlines()[0].lstrip("# ")
        assert pages[site / "notebooks" / f"{path.stem}.html"].h1.text.startswith(title)
    for name in ("notebooks/glossary", "book/solutions", "data/README", "data/weights/README", "benchmarks/README"):
        assert f"{name}.html" in linked


def test_the_page_for_paper_holds_every_notebook(site):
    page = (site / "print" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="document-notebooks/{path.stem}"' in page for path in NOTEBOOKS)


def test_every_link_and_picture_leads_somewhere(pages):
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    for path, page in pages.items():
        for tag in page.select("[href], [src], [poster]"):
            for address in (tag[name] for name in ("href", "src", "poster") if tag.has_attr(name)):
                parts = urlsplit(address)
                if parts.scheme:
                    assert tag.name == "a", f"{path.name} cannot be read without a connection: {address}"
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                assert target.exists(), f"{path.name}: {address}"
                if parts.fragment and target in anchors:
                    assert unquote(parts.fragment) in anchors[target], f"{path.name}: {address}"


def test_every_picture_is_told_in_words(pages):
    for path, page in pages.items():
        for picture in page.find_all("img"):
            words = picture.get("alt", "")
            assert len(words.split()) > 4 and not words.endswith((".png", ".webp")), f"{path.name}: {picture}"


def test_long_cells_are_folded_and_no_output_is_lost(site, pages):
    for path in NOTEBOOKS:
        page = pages[site / "notebooks" / f"{path.stem}.html"]
        # the first cell says what the notebook runs on: a page runs on nothing
        _, *code = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        assert len(page.select("details.above-input")) == sum(len(cell.source.splitlines()) > LONG for cell in code)
        outputs = [output for cell in code for output in cell.outputs if "data" in output]
        shown = sum("image/png" in each.data or "<img " in each.data.get("text/html", "") for each in outputs)
        assert len(page.select(".cell_output img:not(.on-paper)")) == shown
        assert not page.find("script", type=re.compile("jupyter")), "a slider without a kernel draws nothing"


def test_a_film_that_was_made_plays_and_one_that_was_not_is_named(site, pages):
    page = pages[site / "notebooks" / "05_evaluation.html"]
    (film,) = page.find_all("video")
    assert film["src"] == f"../videos/{FILM}" and film["poster"] and film.has_attr("controls")
    assert "A film stands here where the notebook has run" in page.text


def test_every_arxiv_number_is_among_the_references():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "lungseg_helpers").rglob("*.py")]
    texts += [(ROOT / "data" / "README.md").read_text(encoding="utf-8")]
    texts += [cell.source for path in NOTEBOOKS for cell in nbformat.read(path, 4).cells]
    cited = set(re.findall(r"arXiv:(\d{4}\.\d{4,5})", "\n".join(texts)))
    assert len(cited) > 5
    assert cited <= set(re.findall(r"eprint = \{([\d.]+)\}", REFERENCES))


def test_every_reference_says_who_what_and_when():
    entries = re.findall(r"^@\w+\{(\w+),\n(.*?)\n\}", REFERENCES, re.MULTILINE | re.DOTALL)
    keys = [key for key, _ in entries]
    assert len(keys) == len(set(keys)) == REFERENCES.count("\n@")
    for key, fields in entries:
        assert all(f"{field} = " in fields for field in ("author", "title", "year")), key
        assert key.endswith(re.search(r"year = \{(\d{4})\}", fields)[1]), key


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_its_screen(site, pages, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to open a browser with")
    with playwright.sync_playwright() as tool:
        try:
            browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("no Chromium to look with")
        page = browser.new_page(viewport={"width": width, "height": 800})
        for path in pages:
            page.goto(path.as_uri(), wait_until="domcontentloaded")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path.relative_to(site)} is {wide} pixels wide"
        browser.close()

"""The course as a web site: ``make book``. The notebooks stay where they are, and their committed outputs are shown.

The folder that Sphinx reads is the repository itself, so links between README, notebooks and cards hold on the site as
they do in the repository. What a page needs beyond its source is added in memory, when the source is read.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from imageio_ffmpeg import get_ffmpeg_exe
from sphinx.application import Sphinx

from lungseg_helpers.paths import ROOT, outputs_dir

project = "Lung tumour segmentation"
author = "the course's authors"
project_copyright = "text and figures CC BY 4.0, code MIT"
language = "en"
highlight_language = "none"

root_doc = "README"
include_patterns = [
    "README.md",
    "TEACHING.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "notebooks/[0-9][0-9]_*.ipynb",
    "notebooks/glossary.md",
    "data/README.md",
    "data/weights/README.md",
    "benchmarks/README.md",
    "book/*.md",
]
exclude_patterns = [".*", "outputs", "data/[!w]*/**"]  # Sphinx walks through all of a folder that is not excluded
extensions = ["myst_nb", "sphinxcontrib.bibtex"]
nitpicky = True
suppress_warnings = ["myst.header"]  # terms of the glossary are ### on purpose: small headings on GitHub

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_ipywidgets_js = {}  # they would come from elsewhere, and a slider without a kernel draws nothing
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = [str(ROOT / "book" / "references.bib")]  # versions differ in what a relative path starts from

html_theme = "furo"
html_title = "Lung tumour segmentation"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False
html_use_index = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {"navigation_with_keys": True}

LONG = 12
"""A cell of more lines is folded: more than half of a phone's screen."""

CONTENTS = """
````{only} builder_html
<p><a href="print/index.html">All of this, notebooks and cards, on one page to print</a></p>
````

```{toctree}
:caption: Notebooks
:hidden:
:glob:

notebooks/[0-9][0-9]_*
```

```{toctree}
:caption: Beside them
:hidden:

notebooks/glossary
book/solutions
data/README
data/weights/README
benchmarks/README
book/references
TEACHING
CONTRIBUTING
CHANGELOG
```
"""

FILM = re.compile(r'<video src="[^"]*?/videos/([^"]+)"([^>]*)>(.*?)</video>', re.DOTALL)


def setup(app: Sphinx) -> None:
    """Connect what is below."""
    app.connect("builder-inited", leave_out_search)
    app.connect("source-read", complete)
    app.connect("build-finished", finish)
    app.add_html_math_renderer("mathml", inline_renderers=(formula, None), block_renderers=(displayed_formula, None))


def leave_out_search(app: Sphinx) -> None:
    """Take the search from the one long page, which has no index and no page of results."""
    if app.builder.name == "singlehtml":
        parts = ("brand", "scroll-start", "navigation", "scroll-end")
        app.config.html_sidebars = {"**": [f"sidebar/{part}.html" for part in parts]}


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page's source what only the site needs."""
    if page == root_doc:
        source[0] += CONTENTS
    if page == "book/solutions":
        source[0] += "".join(
            f"\n## {path.stem}\n\n```{{literalinclude}} ../notebooks/solutions/{path.name}\n:language: python\n```\n"
            for path in sorted((ROOT / "notebooks" / "solutions").glob("*.py"))
        )
    if Path(app.env.doc2path(page)).suffix == ".ipynb":
        source[0] = json.dumps(completed(json.loads(source[0]), Path(app.outdir) / "videos"))
    else:
        source[0] = linked(source[0], "book/solutions.md", "notebooks/solutions/")


def completed(notebook: dict, films: Path) -> dict:
    """Return a notebook whose long cells are folded, whose pictures have their words, and whose films are found."""
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"] = linked(text, "../book/solutions.md", "solutions/")
            continue
        if len(text.splitlines()) > LONG:
            cell["metadata"].setdefault("tags", []).append("hide-input")
        for output in cell["outputs"]:
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)  # the picture beside it is shown
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
            if "text/html" in data:
                data["text/html"] = FILM.sub(lambda found: player(found, films), "".join(data["text/html"]))
    return notebook


def linked(text: str, page: str, folder: str) -> str:
    """Return Markdown in which names of solutions lead to the page that shows them."""
    text = re.sub(rf"`{folder}(\w+)\.py`", lambda found: f"[{found[0]}]({page}#{found[1]})", text)
    return text.replace("`notebooks/solutions/`", f"[`notebooks/solutions/`]({page})")


def player(found: re.Match[str], folder: Path) -> str:
    """Return a film's player as the site has it, with a frame for readers on paper, or words where there is no film."""
    name, settings, words = found.groups()
    film = outputs_dir() / "videos" / name
    if not film.is_file():
        return f"<p><em>A film stands here where the notebook has run before the book was made: {words}</em></p>"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(film, folder / name)
    still = f"{film.stem}.jpg"
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", film, "-vf", "thumbnail=200", "-frames:v", "1"]
    subprocess.run([*command, folder / still], check=True)
    return (
        f'<video src="../videos/{name}" poster="../videos/{still}"{settings}>{words}</video>'
        f'<img class="on-paper" src="../videos/{still}" alt="A frame of a film. {words}">'
    )


def formula(writer, node) -> None:
    """Write a formula as MathML, which browsers draw by themselves."""
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def displayed_formula(writer, node) -> None:
    """Write a formula that has a line of its own."""
    writer.body.append(tex2mathml(node.astext(), as_block=True))
    raise SkipNode


def finish(app: Sphinx, error: Exception | None) -> None:
    """Put the front page where a web server looks for it."""
    if not error and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")

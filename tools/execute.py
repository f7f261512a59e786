"""Execute the notebooks in order, each in a fresh kernel, and write them with their outputs.

``make run`` writes the executed copies into a folder (``--out``), and leaves out those that it holds already, made
from the same text, code and settings; ``make notebooks`` writes them in place, to be committed. Nothing of a
notebook's own text is changed. Progress bars and notices (stderr) are left out of what is written: they differ
from run to run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
import zmq
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

import lungseg_helpers  # noqa: F401  (what it sets in the environment, the kernels inherit)

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

PICTURE = re.compile(r"!\[[^\]]*\]\(([^):\s]+)\)")
"""A picture in a notebook's text whose address is a file's, seen from the notebook."""

SOURCES = (
    "lungseg_helpers/**/*.py",
    "lungseg_helpers/**/*.js",
    "notebooks/solutions/*.py",
    "requirements.lock",
    "data/weights/*.ckpt",
    "benchmarks/**/*.csv",
    "benchmarks/*.npz",
)
"""What notebooks run, load and read beside their own cells."""

VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
"""What a widget's output, and all widgets' state, are called in a notebook."""

LIVE = "(Something to choose with or to press: run this cell.)"
"""What is read of a widget where no kernel runs and no picture stands beside it, in place of Python's words for it."""


def numbered() -> list[Path]:
    """Return the course's notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def made_from(path: Path) -> str:
    """Return a digest of what an executed copy follows from: its cells, :data:`SOURCES` and settings."""
    total = hashlib.sha256()
    for cell in nbformat.read(path, as_version=4).cells:
        total.update(cell.source.encode())
    for pattern in SOURCES:
        for file in sorted(ROOT.glob(pattern)):
            total.update(file.read_bytes())
    settings = {key: value for key, value in os.environ.items() if key.startswith("LUNGSEG_")}
    total.update(repr(sorted(settings.items())).encode())
    return total.hexdigest()


def is_done(path: Path, out: Path) -> bool:
    """Say whether ``out`` is the executed copy of this notebook as it is now."""
    try:
        return nbformat.read(out, as_version=4).metadata.get("made_from") == made_from(path)
    except (OSError, nbformat.reader.NotJSONError):
        return False


def copy_pictures(path: Path, out: Path) -> None:
    """Copy the pictures that a notebook's text shows to where a copy of it, ``out``, looks for them."""
    for cell in nbformat.read(path, as_version=4).cells:
        for address in PICTURE.findall(cell.source) if cell.cell_type == "markdown" else ():
            there, here = path.parent / address, out.parent / address
            if there.is_file() and there.resolve() != here.resolve():
                here.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(there, here)


def leave_scans_out(notebook: nbformat.NotebookNode) -> None:
    """Take the views that hold a scan, and their state of many MB, out of a notebook; the picture beside each stays.

    They are those that lead, from widget to widget, to one of anywidget's, such as NiiVue's. Where no picture stands
    beside a widget, words do.
    """
    kept = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})

    def below(model: str) -> set[str]:
        found, ahead = set(), [model]
        while ahead:
            found.add(one := ahead.pop())
            ahead += set(re.findall(r"IPY_MODEL_(\w+)", str(kept.get(one, {}).get("state", "")))) - found
        return found

    wanted: set[str] = set()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        view = output.get("data", {}).get(VIEW)
        models = below(view["model_id"]) if view else set()
        if view and "image/png" not in output["data"]:
            output["data"]["text/plain"] = LIVE
        if any(kept.get(model, {}).get("model_module") == "anywidget" for model in models):
            del output["data"][VIEW]
        else:
            wanted |= models
    for model in set(kept) - wanted:
        del kept[model]
    if "widgets" in notebook.metadata and not kept:
        del notebook.metadata["widgets"]


class Client(NotebookClient):
    """A client that does not wait for an answer which is there already.

    While a slider's cell runs, nbclient sends the slider's picture to the kernel, past the part of pyzmq that watches
    the socket. An answer that comes at that moment is not noticed, and a run waits for ever (nbclient's issue 312). To
    ask the socket for its events makes pyzmq look again.
    """

    async def async_execute_cell(self, *arguments, **settings) -> nbformat.NotebookNode:
        """Execute a cell, and look for its answer every second."""

        async def look() -> None:
            while True:
                await asyncio.sleep(1)
                self.kc.shell_channel.socket.get(zmq.EVENTS)

        looking = asyncio.create_task(look())
        try:
            return await super().async_execute_cell(*arguments, **settings)
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking


def execute(path: Path, out: Path) -> float:
    """Execute one notebook, write it to ``out``, and return the seconds it took.

    It runs in the folder of ``out``, so that the films it names are found from there; pictures of its text are copied
    to where they are found. What was executed before a
    failing cell is written too, so that the failure can be read. A copy notes what it was made from.
    """
    notebook = nbformat.read(path, as_version=4)
    out.parent.mkdir(parents=True, exist_ok=True)
    copy_pictures(path, out)
    start, finished = time.perf_counter(), False
    try:
        # the kernel listens on this machine alone; its warning that it does so unencrypted helps no learner
        quiet = ["--log-level=ERROR"]
        client = Client(notebook, timeout=None, kernel_name="python3", record_timing=False, extra_arguments=quiet)
        client.execute(cwd=str(out.parent.resolve()))
        finished = True
    finally:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        leave_scans_out(notebook)
        widgets = notebook.metadata.get("widgets")  # what sliders showed, so that they are seen before a kernel runs
        notebook.metadata = nbformat.from_dict(
            ({"widgets": widgets} if widgets else {})
            | {
                "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            }
            | ({"made_from": made_from(path)} if finished and out.parent.resolve() != NOTEBOOKS else {})
        )
        nbformat.write(notebook, out)
    return time.perf_counter() - start


def main() -> int:
    """Execute the notebooks named on the command line, or all numbered ones; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every numbered notebook")
    parser.add_argument("--out", type=Path, help="folder of the executed copies (default: in place)")
    options = parser.parse_args()
    for path in options.notebooks or numbered():
        print(f"{path.name} …", end=" ", flush=True)
        out = (options.out or path.parent) / path.name
        try:
            print(f"{execute(path, out):.0f} s", flush=True)
        except (CellExecutionError, DeadKernelError) as error:
            print(f"failed: {str(error).strip().splitlines()[-1]}\nopen {out} to see where", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Execute the notebooks in order, each in a fresh kernel, and write them with their outputs.

``make run`` writes the executed copies into a folder (``--out``); ``make notebooks``
writes them in place, to be committed. Nothing of a notebook's own text is changed.
Progress bars and notices (stderr) are left out of what is written: they differ from run to run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

HERE = Path(__file__).resolve().parent


def execute(path: Path, out: Path) -> float:
    """Execute one notebook in its own folder, write it to ``out``, and return the seconds it took.

    What was executed before a failing cell is written too, so that the failure can be read.
    """
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    try:
        NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False).execute(
            cwd=str(HERE)
        )
    finally:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
        widgets = notebook.metadata.get("widgets")  # what sliders showed, so that they are seen before a kernel runs
        notebook.metadata = nbformat.from_dict(
            ({"widgets": widgets} if widgets else {})
            | {
                "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            }
        )
        nbformat.write(notebook, out)
    return time.perf_counter() - start


def main() -> int:
    """Execute the notebooks named on the command line, or all numbered ones; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every numbered notebook beside this file")
    parser.add_argument("--out", type=Path, help="folder of the executed copies (default: in place)")
    options = parser.parse_args()
    for path in options.notebooks or sorted(HERE.glob("[0-9][0-9]_*.ipynb")):
        print(f"{path.name} …", end=" ", flush=True)
        out = (options.out or path.parent) / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            print(f"{execute(path, out):.0f} s", flush=True)
        except (CellExecutionError, DeadKernelError) as error:
            print(f"failed: {str(error).strip().splitlines()[-1]}\nopen {out} to see where", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

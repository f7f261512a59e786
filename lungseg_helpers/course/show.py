"""What notebooks display: a function's own source, tables, and the answer to an exercise."""

from __future__ import annotations

import base64
import html
import inspect
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from .exercises import CHECKS
from .pictures import small_png

if TYPE_CHECKING:  # TensorBoard takes a second to import, and most notebooks show no run
    from ipywidgets import Widget
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SHOWN = 48
"""How many pixels of a panel are shown: 12 cm at the laptop's 2.5 mm."""


def show_source(*things: Callable[..., Any]) -> None:
    """Display the source of functions or classes as they run here, so that text and code cannot drift apart."""
    for thing in things:
        where = f"{thing.__module__.replace('.', '/')}.py"
        display(Markdown(f"`{where}`\n```python\n{inspect.getsource(thing).rstrip()}\n```"))


def show_table(table: pd.DataFrame, digits: int = 2) -> None:
    """Display a table with numbers rounded for reading."""
    # A Styler's own id is random, so a notebook's output would differ from run to run.
    # Names of the axes would be a second, nearly empty row of headings.
    plain = table.rename_axis(index=None, columns=None)
    display(plain.style.set_uuid("table").format(precision=digits, na_rep="–"))


def show_figure(alt: str, figure: Figure | None = None) -> None:
    """Display a figure (the current one where none is given), and keep ``alt`` in the notebook beside its picture.

    ``alt`` says in words what is to be seen, for those who cannot see it: it stands in the output's metadata, as
    Jupyter's format has it. The picture is :func:`~lungseg_helpers.course.pictures.small_png`'s.
    """
    display(as_output(figure or plt.gcf()), metadata={"image/png": {"alt": alt}}, raw=True)


def as_output(figure: Figure) -> dict[str, str]:
    """Return a figure as a notebook's output holds it, and close it."""
    picture = {"image/png": base64.b64encode(small_png(figure)).decode(), "text/plain": repr(figure)}
    plt.close(figure)
    return picture


def show_picture(png: bytes, alt: str) -> None:
    """Display a PNG, animated or not, and keep ``alt`` beside it (see :func:`show_figure`), in any IPython."""
    picture = {"image/png": base64.b64encode(png).decode(), "text/plain": f"picture: {alt}"}
    display(picture, metadata={"image/png": {"alt": alt}}, raw=True)  # IPython's own Image has no alt before 8


def show_sliders(draw: Callable[..., Any], alt: str, **sliders: Any) -> None:
    """Display ipywidgets' ``sliders``, and below them the figure that ``draw`` makes of their values by name.

    The figure of their first values is kept beside them, with its ``alt`` (see :func:`show_figure`): a viewer shows it
    where no widget may run, as on GitHub, or in JupyterLab as long as a notebook is not trusted.
    """
    from ipywidgets import __version__, interactive  # takes a moment, and most notebooks show no slider

    draw(**{name: slider.value for name, slider in sliders.items()})
    picture = as_output(plt.gcf())
    widget = interactive(draw, **sliders)
    if __version__.startswith("7."):  # Colab's draws only when displayed alone, or a slider moves
        widget.update()
    display(widget_view(widget) | picture, metadata={"image/png": {"alt": alt}}, raw=True)


def widget_view(widget: Widget) -> dict[str, dict]:
    """Return a widget as a notebook's output holds it. Version 8 says the same; 7, which Colab has, does not tell."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": view}


def show_film(path: Path, alt: str, width: int = 720) -> None:
    """Display a player of an mp4, or a WebP loop, ``width`` pixels wide; ``alt`` says in words what is to be seen.

    Of an mp4 the notebook holds the address, not the film: seen from the folder that the notebook runs in, which for a
    copy that ``make run`` executes is that of the copy. JupyterLab plays what lies below the folder it was started in.
    The pages of Colab and Kaggle reach no file of their machine, so there the notebook does hold the film. A loop it
    holds everywhere: so it plays for those who only read the notebook, too.
    """
    from .hosted import host  # brings torch, which most of what is displayed does without

    loop, words = path.suffix == ".webp", html.escape(alt)
    address = quote(Path(os.path.relpath(path)).as_posix())
    if loop or host():
        kind = "image/webp" if loop else "video/mp4"
        address = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    film = f'src="{address}" width="{width}" style="max-width: 100%"'
    if loop:
        player = f'<img {film} alt="{words}">'
    else:
        player = f'<video {film} controls loop muted preload="metadata" title="{words}">{words}</video>'
    display({"text/html": player, "text/plain": f"film: {alt}"}, raw=True)


def show_panels(events: EventAccumulator, names: Sequence[str], epochs: Sequence[int]) -> Figure:
    """Draw the panels that a run logged: a row for each of ``names``, a group of CT, truth and prediction per epoch.

    ``events`` are a run's own TensorBoard events, loaded with all their images. Of each panel the :data:`SHOWN` rows
    and columns around the truth are shown.
    """
    figure, axes = plt.subplots(
        len(names), len(epochs), figsize=(4 * len(epochs), 1.25 * len(names)), layout="constrained", squeeze=False
    )
    for row, name in zip(axes, names, strict=True):
        logged = events.Images(name)
        for ax, epoch in zip(row, epochs, strict=True):
            ax.imshow(_around_truth(plt.imread(io.BytesIO(logged[epoch].encoded_image_string), format="png")))
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    for ax, epoch in zip(axes[0], epochs, strict=True):
        ax.set_title(f"epoch {epoch + 1}: CT, truth, probability", fontsize=10)
    return figure


def _around_truth(panels: np.ndarray, shown: int = SHOWN) -> np.ndarray:
    """Cut three panels of one size, which lie side by side in (row, column, colour), around the white of the second."""
    panels = np.stack(np.split(panels[..., :3], 3, axis=1))
    middle = np.argwhere(panels[1, ..., 0] > panels[1, ..., 0].max() / 2).mean(axis=0)
    size = np.array(panels.shape[1:3])
    first = np.clip(np.round(middle - shown / 2), 0, np.maximum(size - shown, 0)).astype(int)
    cut = panels[:, first[0] : first[0] + shown, first[1] : first[1] + shown]
    return np.concatenate(cut, axis=1)


def check(answer: Callable[..., Any]) -> None:
    """Say whether an exercise's function is right, with a hint where it is not.

    The function is recognised by its name. Prints one line and never raises for a wrong
    answer, so that a notebook runs from top to bottom with its exercises undone.
    """
    print(_verdict(answer)[1])


def right_or(answer: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return the learner's ``answer`` if :func:`check` finds it right, else ``ours``, which does the same.

    So what a learner wrote is used in the next cell, and a notebook runs on where it is not written yet. Prints
    nothing: the check has spoken.
    """
    return answer if _verdict(answer)[0] else ours


def _verdict(answer: Callable[..., Any]) -> tuple[bool, str]:
    """Whether an exercise's function is right, and the line that says so."""
    name = answer.__name__
    if name not in CHECKS:
        return False, f"there is no exercise called {name}; keep the name that the stub has"
    try:
        hint = CHECKS[name](answer)
    except NotImplementedError:
        return False, f"{name}: not yet. Replace the line that raises NotImplementedError."
    except Exception as error:  # whatever a learner's code raises is an answer, not a failure of the notebook
        return False, f"{name}: not right yet. It raised {type(error).__name__}: {error}"
    return hint is None, f"{name}: right." if hint is None else f"{name}: not right yet. {hint}"

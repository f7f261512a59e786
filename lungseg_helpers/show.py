"""What notebooks display: a function's own source, tables, and the answer to an exercise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from .exercises import CHECKS


def show_source(*things: Callable[..., Any]) -> None:
    """Display the source of functions or classes as they run here, so that text and code cannot drift apart."""
    for thing in things:
        where = f"lungseg_helpers/{thing.__module__.rsplit('.', 1)[-1]}.py"
        display(Markdown(f"`{where}`\n```python\n{inspect.getsource(thing).rstrip()}\n```"))


def show_table(table: pd.DataFrame, digits: int = 2) -> None:
    """Display a table with numbers rounded for reading."""
    # A Styler's own id is random, so a notebook's output would differ from run to run.
    display(table.style.set_uuid("table").format(precision=digits, na_rep="–"))


def check(answer: Callable[..., Any]) -> None:
    """Say whether an exercise's function is right, with a hint where it is not.

    The function is recognised by its name. Prints one line and never raises for a wrong
    answer, so that a notebook runs from top to bottom with its exercises undone.
    """
    name = answer.__name__
    if name not in CHECKS:
        print(f"there is no exercise called {name}; keep the name that the stub has")
        return
    try:
        hint = CHECKS[name](answer)
    except NotImplementedError:
        print(f"{name}: not yet. Replace the line that raises NotImplementedError.")
    except Exception as error:  # whatever a learner's code raises is an answer, not a failure of the notebook
        print(f"{name}: not right yet. It raised {type(error).__name__}: {error}")
    else:
        print(f"{name}: right." if hint is None else f"{name}: not right yet. {hint}")

"""The course's exceptions: one type for each module's problem, one line for the reader.

Every message names the case or file, says what is wrong, and says what to do.
The command line prints the message and exits with status 1; a notebook shows it as
the last line of the traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

OUT_OF_MEMORY = "there is not enough memory for it; close other programs, or use fewer --workers, or --device cpu"
"""What is said of a scan that memory, or a graphics card's memory, does not suffice for."""

_MEMORY_SIGNS = ("out of memory", "not enough memory", "insufficient memory", "allocate memory")
"""How torch and OpenCV say it, in errors of kinds of their own."""


class LungsegError(Exception):
    """Anything the user can mend: the message is one line that says how."""


class ScanError(LungsegError):
    """A scan (or its label) cannot be used as it is."""


class SourceError(LungsegError):
    """A data set cannot be found, fetched or written."""


class StackError(LungsegError):
    """A prepared slice stack is missing, incomplete or unwritable."""


class SplitError(LungsegError):
    """There are too few patients, or too few labels, to split or to train on."""


class WeightsError(LungsegError):
    """A weights file is missing, is not one of this course's, or does not fit."""


class TrainingError(LungsegError):
    """Training cannot go on (for example a loss that is no longer a number)."""


class RecipeError(LungsegError):
    """A recipe, profile or setting name is unknown, or its values do not fit together."""


class ClusterError(LungsegError):
    """Other machines cannot be reached, or a process that worked on scans was killed."""


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, for a line that must not be as long as the list."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def attempt(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function for one scan of many, called ``name``, and return what it returns.

    Where it fails, its error is returned instead of raised, so that the other scans go on. Whatever it was, it
    is a :class:`LungsegError` then, of one line that names the scan. Only what ends a program passes, such as
    KeyboardInterrupt.
    """
    try:
        return function(*args, **options)
    except Exception as error:
        # made anew: a traceback would keep the scan's arrays alive, on the graphics card too
        kind = type(error) if isinstance(error, LungsegError) else LungsegError
        line = error_line(error)
        # any other error may hold a short name by chance, such as the 1 of a shape
        named = name in line and (isinstance(error, LungsegError) or getattr(error, "filename", None))
        return kind(line if named else f"{name}: {line}")


def error_line(error: Exception) -> str:
    """Return what is wrong and what to do about it, of any error, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, LungsegError):
        # a loading process sends its traceback along, and the line at its end
        return text.rpartition(f".{type(error).__name__}: ")[2] if "in DataLoader worker process" in text else text
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _MEMORY_SIGNS):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text}; check the path, the disk and the permissions"
    return f"{type(error).__name__} ({text}); please report it with this line"

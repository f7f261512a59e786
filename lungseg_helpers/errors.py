"""The course's exceptions: one type for each room's problem, one line for the reader.

Every message names the case or file, says what is wrong, and says what to do.
The command line prints the message and exits with status 1; a notebook shows it as
the last line of the traceback.
"""


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

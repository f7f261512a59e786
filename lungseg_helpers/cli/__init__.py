"""``lungseg …``: a thin door onto the modules. Every command does one stop of the road.

A problem the user can mend ends a command with one line on stderr and status 1, Ctrl-C with
status 130. Results go to stdout, progress to stderr. The modules are imported inside the commands,
so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

from ..errors import OUT_OF_MEMORY, LungsegError, error_line


def main() -> None:
    """Run a command; turn what the user can mend into one line and status 1.

    Where a package is missing without which there are no commands, every one of them is ``lungseg doctor``.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the stream's encoding does not have
            stream.reconfigure(errors="backslashreplace")
    try:
        from . import data, networks, ranking  # noqa: F401  (each adds its commands)
        from .common import app, tell
    except ImportError:
        from .doctor import report

        if report():
            raise
        sys.exit(1)
    try:
        app()
    except (LungsegError, OSError, MemoryError, RuntimeError) as error:
        line = error_line(error)
        # torch calls it so where a graphics card's memory does not suffice; any other is a fault of ours
        if isinstance(error, RuntimeError) and line != OUT_OF_MEMORY:
            raise
        tell([line])
        sys.exit(1)

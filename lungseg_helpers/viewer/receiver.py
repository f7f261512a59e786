"""A field of the page that takes one file from the browser, piece by piece and only so many bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import anywidget
import traitlets

from ..errors import ScanError

PIECE = 2**21
"""Bytes of a piece: well below what the server takes of a message, which is 10 MB."""


def too_large(size: int, limit: int) -> str:
    """Return the line for a file of ``size`` bytes where ``limit`` are taken."""
    return (
        f"the file has {size / 1e6:,.0f} MB, and at most {limit / 1e6:,.0f} MB are taken; "
        "compress it, or use 'lungseg predict'"
    )


class Receiver(anywidget.AnyWidget):
    """A field to drop a file onto, or to choose one with.

    ``begin`` is called with the file's name and returns what its bytes are written to; ``done`` with the name when
    all have come; ``failed`` with the name and a line that says what is wrong. The name is for people: it is whatever
    the browser says, and nothing here uses it as a path.
    """

    _esm = Path(__file__).with_name("receiver.js")

    limit = traitlets.Int().tag(sync=True)
    piece = traitlets.Int(PIECE).tag(sync=True)
    invitation = traitlets.Unicode().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        limit: int,
        begin: Callable[[str], BinaryIO],
        done: Callable[[str], None],
        failed: Callable[[str, str], None],
        invitation: str = "",
    ) -> None:
        super().__init__(limit=limit, invitation=invitation)
        self._begin, self._done, self._failed = begin, done, failed
        self._name, self._file, self._size = "", None, 0
        self.on_msg(self._hear)

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """Take one message of the browser; whatever is wrong with it ends the file with a line."""
        try:
            self._take(content, buffers)
        except (ScanError, OSError, TypeError, ValueError, LookupError) as error:
            self._give_up(str(error) if isinstance(error, ScanError) else f"the transfer failed ({error}); try again")

    def _take(self, content: dict[str, Any], buffers: list[memoryview]) -> None:
        kind = content["kind"]
        if kind in ("begin", "refused"):
            self._close()
            self._name, size = str(content["name"])[:200], int(content["size"])
            if size > self.limit or kind == "refused":
                raise ScanError(too_large(size, self.limit))
            self._file, self._size = self._begin(self._name), 0
            self.send({"kind": "more"})
        elif self._file is None:  # a late piece of a file that was given up
            self.send({"kind": "stop"})
        elif kind == "piece":
            self._size += len(buffers[0])
            if self._size > self.limit:  # whatever size was said at the beginning
                raise ScanError(too_large(self._size, self.limit))
            self._file.write(buffers[0])
            self.send({"kind": "more"})
        elif kind == "end":
            self._close()
            self._done(self._name)
        else:
            raise ScanError("the browser could not read the file to its end; choose it again")

    def _give_up(self, line: str) -> None:
        self._close()
        self.send({"kind": "stop"})
        self._failed(self._name, line)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

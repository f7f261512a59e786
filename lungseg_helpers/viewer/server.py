"""``lungseg viewer``: notebook 09 as a page, by Voilà, for this machine alone and for those who have the address."""

from __future__ import annotations

import re
import secrets
from typing import Any

import psutil

from ..errors import SourceError
from ..paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "09_viewer.ipynb"

LESSON = "lesson"
"""The tag of cells that a page leaves out, unexecuted: they belong to the lesson."""

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)")
"""A link of a notebook's text to a file beside it; its words are the first group."""

IDLE_S = 300
"""A kernel whose page is gone without a word, as after a crash of the browser, is ended after so many seconds."""

PAGE_MEMORY = 1_250_000_000
"""Bytes that the kernel of a page may come to need, with a scan of usual size (``python -m benchmarks viewer``)."""

FULL = "At most {} of these pages may be open at once, and so many are. Close one, wait a moment, and load this again."

POLICY = "; ".join(
    (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
        "connect-src 'self' ws: data: blob:",
        "frame-ancestors 'self'",
        "base-uri 'none'",
        "form-action 'self'",
    )
)
"""What the browser may load: from here alone, so that no scan and no address of it goes elsewhere."""


def page_only(request: Any, notebook: Any, cwd: str) -> Any:
    """Return a notebook without the cells of the lesson, and without links to files, of which none is served."""
    _ = request.xsrf_token  # asked for, it is set: without this cookie a page that closes may not end its kernel
    notebook.cells = [cell for cell in notebook.cells if LESSON not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(r"\1", cell.source)
    return notebook


def serve(port: int, most: int, token: str | None = None) -> None:
    """Serve the page on the loopback interface until Ctrl-C; prints its address, with the token that it asks for.

    Another port is taken where this one is in use. Whoever opens the page where it is open ``most`` times already gets
    a line that says so. ``token`` is by default drawn anew each time. Raises :class:`SourceError` where Voilà is not
    installed.
    """
    try:
        from tornado.web import HTTPError
        from voila.app import Voila
    except ImportError as error:
        raise SourceError('Voilà is not installed; pip install -e ".[course]"') from error

    class Page(Voila):
        """Voilà, on loopback, which says its address as soon as it listens."""

        def launch_browser(self) -> None:
            """Print the address, in place of opening a browser: Voilà calls this once it listens."""
            print("Open this address in a browser, and give it half a minute; Ctrl-C here ends it.")
            print(f"http://127.0.0.1:{self.port}/?token={self.token}", flush=True)

    def begin(request: Any, notebook: Any, cwd: str) -> Any:
        """Return the page's notebook, or refuse it where memory is lacking; Voilà calls it before a kernel."""
        if len(psutil.Process().children()) >= most:  # a kernel has its memory until its process has ended
            raise HTTPError(503, reason=FULL.format(most))
        return page_only(request, notebook, cwd)

    page = Page(
        ip="127.0.0.1",
        port=port,
        token=token or secrets.token_urlsafe(24),
        log_level="ERROR",
        config_file_paths=[],  # no voila.json or voila.py, of this folder or of Jupyter's, changes what stands here
        tornado_settings={"headers": {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}},
    )
    page.config.MappingKernelManager.cull_idle_timeout = IDLE_S
    page.config.MappingKernelManager.cull_interval = 30
    page.config.VoilaExecutor.store_widget_state = False  # the server would keep a copy of each scan that is shown
    page.config.VoilaConfiguration.file_allowlist = []  # no file beside the notebook is served
    page.config.VoilaConfiguration.prelaunch_hook = begin
    page.config.VoilaConfiguration.show_margins = True
    page.initialize([str(NOTEBOOK)])
    page.start()

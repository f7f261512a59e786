"""The page's server: on loopback, with a token, and nothing of the disk behind it."""

import http.client
import json
from types import SimpleNamespace
from urllib.parse import urlsplit

import nbformat
import psutil
import pytest
from browsers import served

from lungseg_helpers.cli import networks
from lungseg_helpers.cli.doctor import machine
from lungseg_helpers.viewer import server


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    # a folder of somebody else's, whose settings would open the page to everybody and run code
    hostile = {"Voila": {"ip": "0.0.0.0", "token": ""}, "VoilaConfiguration": {"file_allowlist": [".*"]}}
    (folder / "voila.json").write_text(json.dumps(hostile))
    (folder / "voila.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    # as of the command lungseg, for which Python imports nothing from that folder
    safe = {"PYTHONSAFEPATH": "1"}
    with served(["lungseg_helpers.cli", "viewer", "--port", "18866"], folder, folder, **safe) as (address, process):
        yield address, process
    assert not (folder / "ran").exists(), "code of the folder was run"


def asked(address, path, method="GET", **headers):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_it_listens_on_loopback_alone(page):
    _, process = page
    listening = [each.laddr.ip for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
    assert listening and set(listening) == {"127.0.0.1"}


def test_the_token_is_long_and_new_each_time_and_no_other_user_sees_it(page):
    address, process = page
    token = address.partition("token=")[2]
    assert len(token) >= 32
    assert token not in " ".join(psutil.Process(process.pid).cmdline())


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/?token=", "/09_viewer.ipynb", "/api/kernels"])
def test_without_the_token_there_is_only_the_question_for_it(page, path):
    status, headers, _ = asked(page[0], path)
    assert (status, headers["Location"].partition("?")[0]) == (302, "/login")
    assert not [each for each in psutil.Process(page[1].pid).children() if "ipykernel" in " ".join(each.cmdline())]


@pytest.mark.parametrize(
    "path", ["/api/kernels/1-1-1-1-1", "/api/kernels/1-1-1-1-1/channels", "/voila/api/shutdown/1-1-1-1-1"]
)
def test_no_kernel_is_reached_without_the_token(page, path):
    status, _, _ = asked(page[0], path, "POST" if "shutdown" in path else "GET")
    assert status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/voila/files/09_viewer.ipynb",
        "/voila/files/glossary.md",
        "/voila/files/../data/loop.webp",
        "/voila/files/../data/contact_sheet.png",
        "/voila/files/%2e%2e/data/contact_sheet.png",
        "/voila/static/../../../../../../../../../../etc/passwd",
        "/voila/templates/lab/static/../../../../../../../../../../etc/passwd",
        "/voila/labextensions/../../../../../../../../../../etc/passwd",
    ],
)
def test_no_file_is_served_with_or_without_the_token(page, path):
    address, _ = page
    for headers in ({}, {"Authorization": f"token {address.partition('token=')[2]}"}):
        status, _, body = asked(address, path, **headers)
        assert status in (400, 403, 404, 500) and b"root:" not in body, path


def test_the_page_is_the_notebook_without_its_lesson_and_without_links_that_lead_nowhere():
    notebook = nbformat.read(server.NOTEBOOK, 4)
    whole = "\n".join(cell.source for cell in notebook.cells)
    shown = "\n".join(cell.source for cell in server.page_only(SimpleNamespace(xsrf_token=b""), notebook, "").cells)
    assert "](glossary.md#" in whole and "](glossary.md#" not in shown
    assert "voxel_at" in whole and "voxel_at" not in shown and "A scan of your own" in shown
    assert server.LINK.sub(r"\1", "a [window](glossary.md#window), [home](https://x.org)") == (
        "a window, [home](https://x.org)"
    )


def test_the_browser_is_told_to_load_nothing_from_elsewhere(page):
    _, headers, _ = asked(page[0], "/")
    assert (
        "default-src 'self'" in headers["Content-Security-Policy"] and "http" not in headers["Content-Security-Policy"]
    )
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(("free_gb", "pages", "most"), [(16, None, 12), (1, None, 1), (1, 5, 5)])
def test_it_opens_as_often_as_free_memory_allows_or_as_one_says(monkeypatch, free_gb, pages, most):
    asked_for = []
    monkeypatch.setattr(machine, "memory", lambda: (32 * 10**9, free_gb * 10**9, 32 * 10**9))
    monkeypatch.setattr(server, "serve", lambda port, most: asked_for.append(most))
    networks.viewer(port=18866, pages=pages)
    assert asked_for == [most]

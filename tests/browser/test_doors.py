"""Who gets to see the page: one-time links, the token, the cookie; nothing for pages of other sites."""

from __future__ import annotations

import http.server
import signal
import sys
import threading
import time

import httpx2
import pytest

from tests.browser.conftest import is_there, let_in, until
from tests.conftest import started
from tests.engine.databases import copy_of
from tests.http.servers import served


@pytest.fixture(scope="module")
def opened(passage_files, tmp_path_factory):
    """Servers as `--open` starts them, without a browser to open."""
    path = copy_of(passage_files["sqlite"], tmp_path_factory.mktemp("opened"), "passages")

    def start():
        return served(path, "--http", "--open")

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BROWSER", "true")
        yield start


def test_a_link_that_works_once(browser, opened):
    """It lets a browser in, sets a cookie that scripts cannot read, and leaves neither link nor token in the history."""
    with opened() as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto("about:blank")
        page.goto(server.page)
        page.wait_for_url(server.url + "/")
        is_there(page)
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert cookie["name"] == f"sqlrag-{server.port}"
        assert cookie["value"] != server.token
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("[location.href, document.referrer, document.title].join()").count("code=") == 0
        page.go_back()
        assert page.url == "about:blank"
        # The same browser may follow it again, another one may not: then both are shut out.
        page.goto(server.page)
        page.wait_for_url(server.url + "/")
        stranger = browser.new_context().new_page()
        stranger.goto(server.page)
        assert "has been used before" in stranger.content()
        assert (
            httpx2.get(
                server.url + "/page/about", headers={"Cookie": f"{cookie['name']}={cookie['value']}"}
            ).status_code
            == 401
        )
        page.reload()
        let_in(page, server.token)


DEMO = """
import sys
import sqlrag.cli.standard_library as library
from sqlrag.cli import main
documents = [one for one in library.harvest() if one.metadata["module"] in ("timeit", "dis", "codecs")]
library.harvest = lambda: documents
sys.argv[1:] = ["demo", "--open", "--path", sys.argv[1]]
main()
"""


def test_the_demo_ends_in_the_page(browser, tmp_path, monkeypatch):
    """`sqlrag demo --open` answers in the terminal, opens the link in the user's browser, and ends with Ctrl-C."""
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/part && mv {tmp_path}/part {tmp_path}/link\n')
    opener.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(opener))
    monkeypatch.setenv("DISPLAY", ":9")
    with started([sys.executable, "-c", DEMO, str(tmp_path / "demo.db")]) as demo:
        lines = []
        while not lines or not lines[-1].startswith("page: "):
            lines.append(demo.stdout.readline())
            assert lines[-1], demo.stderr.read()
        assert ":q = 'how long does a piece of code take?'\n" in lines
        while not (tmp_path / "link").exists():
            time.sleep(0.05)
        assert (tmp_path / "link").read_text() == lines[-1].split()[1]
        page = browser.new_page()
        page.goto((tmp_path / "link").read_text())
        page.locator("mark").first.wait_for()
        assert page.locator("article.hit h2").first.inner_text() == "timeit"
        assert page.url.endswith("/?q=how+long+does+a+piece+of+code+take%3F")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 130


def test_the_server_ends_while_the_page_is_open(browser, passage_files, tmp_path):
    """The page says that nobody answers; of a server that was started again, that the session has ended."""
    path = copy_of(passage_files["sqlite"], tmp_path, "ended")

    def asked(page, question):
        page.get_by_label("Question", exact=True).fill(question)
        page.keyboard.press("Enter")
        until(page, "!document.querySelector('#problem').hidden && !$('go').disabled")
        return page.locator("#problem").inner_text()

    with served(path, "--http") as first:
        page = browser.new_page()
        page.goto(first.url)
        let_in(page, first.token)
    assert "The server does not answer" in asked(page, "bees")
    with served(path, "--http", "--port", str(first.port)) as again:
        assert again.port == first.port
        assert "This session has ended" in asked(page, "tides")
        page.reload()
        let_in(page, again.token)
        page.locator("article.hit").first.wait_for()
        assert page.url == f"{again.url}/?q=tides"


def test_the_token_in_a_form(browser, server):
    """A wrong one is refused, the right one lets in, and the state of a shared link is kept."""
    page = browser.new_context().new_page()
    page.goto(server.url + "/?q=tides+%3Cb%3E")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Enter").click()
    page.get_by_text("The token is wrong.").wait_for()
    let_in(page, server.token)
    page.wait_for_url(server.url + "/?q=tides+%3Cb%3E")
    page.locator("article.hit").first.wait_for()
    assert page.get_by_label("Question", exact=True).input_value() == "tides <b>"


REFUSED = [
    ({}, 401),
    ({"Cookie": "sqlrag=wrong"}, 401),
    ({"Cookie": "{cookie}"}, 200),
    ({"Cookie": "{cookie}", "Host": "evil.example"}, 421),
    ({"Cookie": "{cookie}", "Host": "localhost.evil.example:{port}"}, 421),
    ({"Cookie": "{cookie}", "Origin": "http://evil.example"}, 403),
    ({"Cookie": "{cookie}", "Origin": "http://127.0.0.1:1"}, 403),
    ({"Cookie": "{cookie}", "Origin": "null"}, 403),
    ({"Cookie": "{cookie}", "Sec-Fetch-Site": "same-origin"}, 200),
    ({"Cookie": "{cookie}", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script"}, 401),
    ({"Cookie": "{cookie}", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 401),
    ({"Cookie": "{cookie}", "Authorization": "Bearer wrong"}, 401),
    ({"Cookie": "{cookie}; {cookie}"}, 200),
    ({"Cookie": "\xff\x00=;;;{cookie"}, 401),
]


@pytest.fixture(scope="module")
def cookie(server):
    """The cookie of a session, as a header."""
    answer = httpx2.post(server.url + "/enter", data={"token": server.token}, headers={"Origin": server.url})
    assert answer.status_code == 200
    return answer.headers["Set-Cookie"].partition(";")[0]


@pytest.mark.parametrize(("headers", "status"), REFUSED, ids=str)
def test_what_the_cookie_allows(server, cookie, headers, status):
    """The cookie goes with our own page alone, whose requests say where they come from."""
    sent = {
        name: value.replace("{cookie}", cookie)
        .replace("{port}", str(server.port))
        .encode("latin-1")
        .replace(b"\0", b"")
        for name, value in headers.items()
    }
    answer = httpx2.get(server.url + "/page/about", headers=sent)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_what_changes_something_names_its_origin(server, cookie):
    """A POST with the cookie has the Origin of our page; a form of another page is refused."""
    asked = {"question": "bees", "index": "chunks"}
    for origin, status in ((server.url, 200), ("http://evil.example", 403), (None, 401)):
        headers = {"Cookie": cookie, **({} if origin is None else {"Origin": origin})}
        assert httpx2.post(server.url + "/page/ask", json=asked, headers=headers, timeout=60).status_code == status
    form = {"token": server.token}
    assert httpx2.post(server.url + "/enter", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx2.post(server.url + "/enter", data=form, headers={"Host": "evil.example"}).status_code == 421
    assert httpx2.put(server.url + "/enter").status_code == 405
    answer = httpx2.post(server.url + "/enter", data={**form, "to": "//evil.example"}, headers={"Origin": server.url})
    assert "evil" not in answer.text


def test_a_page_of_another_port(browser, server):
    """A page of another server on this machine, to whose requests the browser adds the cookie, learns nothing."""
    html = (
        "<script>addEventListener('load', async () => { const said = [];"
        f"for (const mode of ['cors', 'no-cors']) try {{ const r = await fetch('{server.url}/page/about', {{mode, credentials: 'include'}});"
        "said.push(r.type + r.status + (await r.text()).length) } catch (e) { said.push('refused') }"
        "document.title = said.join(' ') })</script>"
        f"<script src='{server.url}/describe'></script><iframe id=f src='{server.url}/'></iframe><img src='{server.url}/page/about'>"
    )

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *args):
            pass

    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        let_in(page, server.token)
        statuses: dict[str, int] = {}
        page.on("response", lambda response: statuses.update({response.url: response.status}))
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        until(page, "document.title.length > 10")
        assert "200" not in page.title()
        assert page.title().startswith("refused")
        assert {
            status for url, status in statuses.items() if url.startswith(server.url) and url != server.url + "/"
        } <= {401, 403}
        frame = page.frames[1]
        assert "Question" not in frame.content()
        # A link from there leads to the page all the same.
        page.evaluate(f"location.href = '{server.url}/?q=tides'")
        page.wait_for_url(server.url + "/?q=tides")
        page.locator("article.hit").first.wait_for()
    finally:
        other.shutdown()
        other.server_close()

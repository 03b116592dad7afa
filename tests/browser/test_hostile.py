"""Documents of a stranger on the page: what they hold is text, and nothing else."""

from __future__ import annotations

import pytest

import sqlrag
from sqlrag.text import Document
from tests.browser.conftest import until
from tests.http.servers import served

pytestmark = pytest.mark.slow

ATTACKS = {
    "script": "<script>document.title='owned'</script>",
    "handler": "<img src=x onerror=\"document.title='owned'\"><svg onload=\"document.title='owned'\">",
    "frame": "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe><base href='http://evil.example/'>",
    "template": "{{constructor.constructor('document.title=\"owned\"')()}} ${document.title='owned'} </p></article></main>",
    "attribute": "\" autofocus onfocus=\"document.title='owned'\" x=\"' onfocus='document.title=1",
    "style": "</style><style>*{display:none!important}</style><link rel=stylesheet href=http://evil.example/x.css>",
    "bidi": "user \u202etxt.exe\u202c \u2066hidden\u2069 \u200f\u05e9\u05dc\u05d5\u05dd",
    "controls": "nul\x01 bell\x07 escape\x1b[31m red \x85 \ufeff",
    "meta": "<meta http-equiv=refresh content='0;url=http://evil.example'><form action=http://evil.example><input name=q></form>",
}
URIS = (
    "javascript:document.title='owned'",
    "data:text/html,<script>alert(1)</script>",
    " JaVaScRiPt:alert(1)",
    "https://example.org/a b",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A server of documents whose every part is an attack, and of some that are only huge."""
    path = tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(1)>.db"
    documents = [
        Document(
            f"{URIS[place % len(URIS)]}#{name}", f"{attack} {name}", f"The attack {name}.\n\nIt says {attack} here.",
            {f"key {attack}": attack}, f"hash of {name}",
        )
        for place, (name, attack) in enumerate(ATTACKS.items())
    ]  # fmt: skip
    documents.append(Document("long", "A long line", "longest attack line " + "x" * 1_000_000, {}, "hash of long"))
    documents.append(Document("wide", "宽" * 5_000, "attack " + "宽行" * 50_000, {"m": "宽" * 9_000}, "hash of wide"))
    with sqlrag.connect(path) as db:
        db.ingest(documents)
        db.execute('CREATE TABLE "<b onclick=x>" ("<script>alert(1)</script>" TEXT)')
    with served(path, "--http") as server:
        yield server


def check(page):
    """Nothing of a document has become an element, and no script of one has run."""
    assert page.title() != "owned"
    for element in (
        "main iframe",
        "main img",
        "main form[action]",
        "main base",
        "main script",
        "main meta",
        "main style",
    ):
        assert page.locator(element).count() == 0, element
    assert (
        page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => e.getAttributeNames().some(n => n.startsWith('on'))).length"
        )
        == 0
    )
    assert page.evaluate("[...document.links].filter(a => !/^(https:|http:\\/\\/127)/.test(a.href)).length") == 0
    assert page.said == []


def test_texts_are_texts(enter, hostile):
    """Every view, with every attack among the answers."""
    page = enter("/?q=attack&k=100&n=25", hostile)
    page.locator("mark").first.wait_for(timeout=60_000)
    titles = page.locator("article.hit h2").all_inner_texts()
    text = page.locator("#cards").inner_text()
    for name, attack in ATTACKS.items():
        if name in {"bidi", "controls"}:
            continue
        assert any(attack.split(" ")[0] in title for title in titles), name
        assert attack in text, name
    assert "txt.exe" in text
    assert not set(text) & set("\u202e\u202c\u2066\u2069\x01\x07\x1b\x85\ufeff")
    assert page.locator("article.hit a").count() <= sum(uri.startswith("https") for uri in URIS) * 3
    check(page)
    page.get_by_role("button", name="Open in its document").first.click()
    page.locator("dialog .here").wait_for()
    check(page)
    page.keyboard.press("Escape")
    for name in ("SQL", "What is in here", "Does reranking pay?"):
        page.get_by_role("tab", name=name).click()
        if name == "SQL":
            page.get_by_label("Statement").fill(
                "SELECT d.title, c.text, d.metadata FROM documents AS d JOIN chunks AS c ON c.source_id = d.id WHERE length(c.text) < 900 LIMIT 50"
            )
            page.keyboard.press("Control+Enter")
            until(page, "!document.getElementById('run').disabled")
            assert page.locator("#sql-problem").inner_text() == ""
        if name == "What is in here":
            page.locator("#here").get_by_text("<script>alert(1)</script>").wait_for()
        check(page)


def test_questions_and_links_are_texts(enter, hostile):
    """What stands in the address is text too."""
    attack = "%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D%27owned%27%22%3E"
    page = enter(f"/?q={attack}&filter=&index={attack}&stage={attack}&reranker={attack}&view={attack}&k=25", hostile)
    page.get_by_text("the database has 'chunks'").wait_for()
    del page.said[:]  # of the refusal, 404
    check(page)
    page.goto(f"{hostile.url}/?q={attack}&stage={attack}&view={attack}")
    page.locator("article.hit").first.wait_for(timeout=60_000)
    check(page)
    page.goto(f"{hostile.url}/?q=x&filter={attack}")
    page.locator("#problem").wait_for()
    assert "onerror" in page.locator("#problem").inner_text()
    assert page.locator("main img").count() == 0


def test_few_bytes_whatever_the_texts(enter, hostile):
    """Lines of a megabyte, and titles of thousands of letters, do not become a huge answer, or a wide page."""
    sizes: list[int] = []
    page = enter("/?q=longest+attack+line&k=100&n=25", hostile)
    page.on("response", lambda response: sizes.append(len(response.body())) if "/page/ask" in response.url else None)
    page.reload()
    page.locator("mark").first.wait_for(timeout=60_000)
    until(page, "!document.querySelector('.stale')")
    assert 1_000 < sum(sizes) < 150_000
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

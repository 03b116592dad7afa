"""How the page looks and is used: widths, themes, keyboard, WCAG 2.1 AA, nothing from elsewhere, nothing that moves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import let_in, until

pytestmark = pytest.mark.slow

ASKED = "/?q=why+do+bees+dance%3F"
AXE = Path(__file__).parents[2] / ".venv-node" / "node_modules" / "axe-core" / "axe.min.js"


def views(page):
    """Show each view in turn, with something in it."""
    page.locator("mark").first.wait_for()
    yield "ask"
    page.get_by_role("button", name="Open in its document").first.click()
    page.locator("dialog .here").wait_for()
    yield "document"
    page.get_by_role("button", name="Close").click()
    page.get_by_role("tab", name="SQL").click()
    page.get_by_role("button", name="Run").click()
    page.locator("#result td").first.wait_for()
    yield "sql"
    page.get_by_role("tab", name="What is in here").click()
    page.get_by_text("up to date").wait_for()
    yield "here"
    page.get_by_role("tab", name="Does reranking pay?").click()
    page.evaluate("showEvaluation(" + json.dumps(EVALUATION) + ")")
    yield "pays"


ESTIMATE = {"mean": 0.5, "low": 0.4, "high": 0.6}
EVALUATION = {
    "at": 0, "queries": 5, "index": "chunks", "pairs": 9, "seconds": 1, "cutoff": 10, "notes": ["A note."],
    "verdicts": [
        {"first_stage": name, "pays": pays, "text": "reranking pays, or not."}
        for name, pays in (("vector", True), ("text", None), ("hybrid", False))
    ],
    "rows": [
        {"first_stage": name, "top_k": top_k, "reranked": reranked, "ndcg": ESTIMATE}
        for name in ("vector", "text", "hybrid") for top_k in (10, 25) for reranked in (False, True)
    ],
    "context": [
        {"first_stage": name, "reranked": reranked, "tokens": tokens, "recall": 0.5}
        for name in ("vector", "text", "hybrid") for reranked in (False, True) for tokens in (250, 500)
    ],
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_widths_and_themes(enter, width, scheme):
    """No view is wider than the window, in either theme; and axe-core finds nothing against WCAG 2.1 AA."""
    page = enter(ASKED, viewport={"width": width, "height": 800}, color_scheme=scheme)
    if not AXE.exists():
        pytest.skip("axe-core is not here: npm install --prefix .venv-node axe-core")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
    for view in views(page):
        page.wait_for_timeout(200)  # until nothing fades any more
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        found = page.evaluate(f"axe.run(document, {json.dumps(rules)})")
        problems = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]
        assert (view, problems) == (view, [])
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 18, 22)"
    assert is_dark == (scheme == "dark")
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 18, 22)"
    page.reload()
    page.get_by_role("button", name="Theme: dark").wait_for()
    assert page.said == []


def test_the_keyboard_alone(enter):
    """Everything is reached, seen to be reached, and used without a pointer."""
    page = enter()
    page.keyboard.type("why do bees dance?")
    page.keyboard.press("Enter")
    page.locator("mark").first.wait_for()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        page.wait_for_timeout(20)
        reached.append(
            page.evaluate(
                "(() => { const e = document.activeElement, seen = e.id === 'q' ? e.parentNode : e.matches('.segment input')"
                " ? e.nextElementSibling : e; return [e === document.body ? 'BODY' : e.id || e.textContent.trim() || e.name || e.tagName,"
                " getComputedStyle(seen).outlineStyle !== 'none'] })()"
            )
        )
    names = [name for name, _ in reached]
    for wanted in (
        "go",
        "k",
        "n",
        "reranker",
        "budget",
        "filter",
        "share",
        "Open in its document",
        "copy",
        "code",
        "theme",
    ):
        assert wanted in names, wanted
    assert [name for name, is_seen in reached if not is_seen and name != "BODY"] == []
    page.get_by_role("button", name="Open in its document").first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog .here").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Open in its document"
    page.locator("#tab-ask").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#sql").is_visible()
    page.keyboard.press("End")
    assert page.locator("#pays").is_visible()
    page.keyboard.press("Home")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    until(page, "state.stage === 'vector'")  # the one after the last


def test_nothing_from_elsewhere(launch, server, tmp_path):
    """In the browser's own log of its network there is no request to another host, whatever is done on the page."""
    log = tmp_path / "net.json"
    browser = launch(f"--log-net-log={log}")
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url + ASKED)
    let_in(page, server.token)
    for _ in views(page):
        pass
    browser.close()
    events = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    # Chromium itself asks for updates, with no origin that it began at; what a page causes has the page's.
    asked = {event["url"] for event in events if "url" in event and event.get("initiator") == server.url}
    assert f"{server.url}/page/ask" in asked
    assert {urlsplit(address).netloc for address in asked} == {f"127.0.0.1:{server.port}"}


def test_it_comes_at_once_and_stays_still(enter, server):
    """It is there long before anybody waits, shifts nothing when answers and marks come, and says nothing to the console."""
    page = enter()
    page.evaluate("1")
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) shift += e.value })"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    page.goto(server.url + ASKED)
    page.locator("mark").first.wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("shift") < 0.1
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
    sizes = page.evaluate("performance.getEntriesByType('navigation')[0].transferSize")
    assert 10_000 < sizes < 150_000
    assert page.said == []
    if path := os.environ.get("SQLRAG_PAINT"):
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        Path(path).write_text(f"{paint:.0f} ms\n", encoding="utf-8")

"""The page of `sqlrag serve DB --http`: ask, see both orders, filter, share, SQL, what is in here, evaluate."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

import sqlrag
from tests.browser.conftest import until
from tests.engine.databases import copy_of
from tests.http.servers import served

QUESTION = "why do bees dance?"
ASKED = "/?q=why+do+bees+dance%3F"


def ask(page, question=QUESTION):
    """Type a question and wait for the answer with its marks."""
    page.get_by_label("Question", exact=True).fill(question)
    page.keyboard.press("Enter")
    page.locator("mark").first.wait_for()


@pytest.fixture
def hits(passage_files):
    """What the database answers in Python."""
    with sqlrag.connect(passage_files["sqlite"], read_only=True) as db:
        yield db.search(QUESTION, top_n=25)


def test_ask_and_see(enter, hits):
    """The answers are those of `search`, with source, score, movement, marked words, and the times of both stages."""
    page = enter()
    ask(page)
    cards = page.locator("article.hit")
    assert cards.count() == 3
    assert [title.strip() for title in page.locator("article.hit h2").all_inner_texts()] == [
        hit.title for hit in hits[:3]
    ]
    first = cards.first.inner_text()
    assert f"score {hits[0].score:.3f}" in first
    assert hits[0].uri in first
    moves = [re.findall(r"\d+", text) for text in page.locator("article.hit .move").all_inner_texts()]
    expected = [[hit.rank_before, hit.rank_after] for hit in hits[:3]]
    assert [[int(numbers[0]), int(numbers[-1])] for numbers in moves] == expected
    assert re.search(r"3 of 25 candidates in [\d.,]+ ms", page.locator("#sum").inner_text())
    assert re.search(r"embed [\d.,]+ ms\s+index [\d.,]+ ms\s+rerank [\d.,]+ ms", page.locator("#sum").inner_text())
    assert "dances" in {word.lower() for word in page.locator("article.hit mark.w").all_inner_texts()}
    assert "dance" in cards.first.locator("mark.s").first.locator("..").inner_text().lower()
    assert page.locator("#chart g.g").count() == 25
    pushed = [hit.title for hit in hits if hit.rank_before <= 3 < hit.rank_after]
    assert len(page.locator("#chart g.ex").all()) == len(pushed) == page.locator(".outs li").count()
    assert page.said == []


def test_asked_before_the_page_knows_its_database(enter):
    """A question that is typed at once, while the page still asks what is there, is answered all the same."""
    page = enter()
    page.route("**/page/about", lambda route: (page.wait_for_timeout(800), route.continue_()))
    page.reload(wait_until="commit")
    ask(page)
    assert page.get_by_label("Question", exact=True).input_value() == QUESTION
    assert page.locator("article.hit").count() == 3


def test_hover_links_card_and_line(enter):
    """What the pointer is on is seen in the other place too."""
    page = enter(ASKED)
    page.locator("article.hit").nth(1).hover()
    id_ = page.locator("article.hit").nth(1).get_attribute("data-id")
    assert "on" in page.locator(f"#chart g[data-id='{id_}']").get_attribute("class").split()
    page.locator("#chart g.in .hot").first.hover()
    assert page.locator("article.hit.on").count() == 1


def test_settings_and_filter(enter, hits):
    """First stage, top_k, top_n, reranker and filter are asked as they stand; a wrong filter says what is wrong."""
    page = enter(ASKED)
    page.locator("article.hit").first.wait_for()
    page.get_by_text("Hybrid", exact=True).click()
    page.get_by_label("top_n").fill("5")
    page.get_by_label("Reranker").select_option("reranker-v1-small")
    page.get_by_label("Filter").fill("title <> 'Bees'")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('article.hit').length === 5 && state.filter")
    until(page, "!document.querySelector('.stale')")
    assert "Bees" not in page.locator("article.hit h2").all_inner_texts()
    assert "hybrid_top_k('chunks', 'why do bees dance?', 25, 'title <> ''Bees''')" in page.locator("#code").inner_text()
    page.get_by_label("Filter").fill("nope = 1")
    page.keyboard.press("Enter")
    page.locator("#problem").wait_for()
    assert "nope" in page.locator("#problem").inner_text()
    assert page.get_by_label("Filter").get_attribute("aria-invalid") == "true"
    page.get_by_label("Filter").fill("")
    page.get_by_label("top_n").fill("50")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('problem').textContent.includes('top_n is 50')")
    assert page.get_by_label("top_n").get_attribute("aria-invalid") == "true"
    page.get_by_label("top_n").fill("")  # the default
    page.keyboard.press("Enter")
    page.locator("article.hit").first.wait_for()
    assert page.get_by_label("top_n").input_value() == "3"


@pytest.mark.parametrize("name", ["index", "reranker"])
def test_a_link_that_names_what_is_not_here(enter, name):
    """It is not answered from something else: the page says what there is."""
    page = enter(f"{ASKED}&{name}=absent")
    page.locator("#problem").wait_for()
    assert "'absent'" in page.locator("#problem").inner_text()
    assert ("'chunks'" if name == "index" else "'reranker-v1'") in page.locator("#problem").inner_text()


def test_a_database_without_an_index(enter, tmp_path):
    """The page says what makes one, whatever is asked, and still has SQL and the tables."""
    with sqlrag.connect(tmp_path / "plain.db") as db:
        db.execute("CREATE TABLE t (a)")
    with served(tmp_path / "plain.db", "--http") as plain:
        page = enter("/?q=bees", plain)
        page.locator("#problem").get_by_text("has no index yet").wait_for()
        page.keyboard.press("Enter")
        page.get_by_label("First stage").get_by_text("Text").click()
        assert "has no index yet" in page.locator("#problem").inner_text()
        page.get_by_role("tab", name="What is in here").click()
        page.get_by_text("0 rows", exact=True).wait_for()
        page.get_by_role("tab", name="Does reranking pay?").click()
        page.locator("#pays-problem").get_by_text("has no index yet").wait_for()
        assert page.get_by_role("button", name="Measure").is_disabled()
        assert page.said == []


def test_a_budget(enter):
    """With no time for reranking the order is the first stage's; with another first stage it is refused, with why."""
    page = enter("/?q=a+question+that+nobody+has+asked&budget=0")
    page.locator("article.hit").first.wait_for()
    assert "not scored within the budget" in page.locator("article.hit").first.inner_text()
    page.get_by_text("Vector", exact=True).click()
    page.locator("#problem").wait_for()
    assert "budget_ms goes with the first stage 'hybrid'" in page.locator("#problem").inner_text()


def test_a_link_shows_the_same(enter):
    """The address has the state: a colleague who opens it, after entering the token, sees the same answer."""
    page = enter(ASKED + "&stage=hybrid&k=10&n=2&filter=title+%3C%3E+%27Tides%27")
    page.locator("article.hit").first.wait_for()
    first = page.locator("article.hit h2").all_inner_texts()
    address = page.url.removeprefix(re.match(r"http://[^/]*", page.url)[0])
    other = enter(address)
    other.locator("article.hit").first.wait_for()
    assert other.locator("article.hit h2").all_inner_texts() == first
    assert len(first) == 2
    other.get_by_label("Question", exact=True).fill("how do plants make oxygen?")
    other.keyboard.press("Enter")
    until(other, "document.querySelector('article.hit h2').textContent !== " + json.dumps(first[0]))
    other.go_back()
    until(other, "document.querySelector('article.hit h2').textContent === " + json.dumps(first[0]))


def test_the_code_of_the_answer(enter):
    """SQL, Python and curl are shown as they came, and the SQL tab runs the statement: the same hits."""
    page = enter(ASKED + "&stage=hybrid&filter=title+<>+'Bees'")
    page.locator("article.hit").first.wait_for()
    ids = [card.get_attribute("data-id") for card in page.locator("article.hit").all()]
    for name in ("Python", "curl", "SQL"):
        page.locator(".code").get_by_text(name, exact=True).click()
        assert page.locator("#code").inner_text().strip() == page.evaluate(f"found.code.{name.lower()}")
    page.get_by_role("button", name="Open in the SQL tab").click()
    page.locator("#result td").first.wait_for()
    assert [row.locator("td").first.inner_text() for row in page.locator("tbody tr").all()] == ids


def test_a_passage_in_its_document(enter):
    """A hit opens with its neighbours, and Escape closes it."""
    page = enter(ASKED)
    page.get_by_role("button", name="Open in its document").first.click()
    page.locator("dialog .here").wait_for()
    assert page.locator("#doc-title").inner_text() == "Bees"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_sql(enter, passage_files):
    """A statement's rows as a table, as CSV and as JSON; an error; nothing is written; the history stays."""
    page = enter("/?view=sql")
    statement = "SELECT id, title, NULL AS empty, 'a \"b\", c' AS odd FROM documents ORDER BY id LIMIT 3"
    page.get_by_label("Statement").fill(statement)
    page.keyboard.press("Control+Enter")
    page.locator("#result td").first.wait_for()
    assert [text.strip() for text in page.locator("th").all_inner_texts()] == ["id", "title", "empty", "odd"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text(encoding="utf-8"), newline="")))
    assert rows[0] == ["id", "title", "empty", "odd"]
    assert [row[2:] for row in rows[1:]] == [["", 'a "b", c']] * 3
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    assert [row["id"] for row in json.loads(download.value.path().read_text(encoding="utf-8"))] == [1, 2, 3]
    page.get_by_label("Statement").fill("SELECT 9007199254740993 AS b, 1 AS \"1\", 'x' AS a LIMIT 1")
    page.get_by_role("button", name="Run").click()
    page.locator("th", has_text="b").wait_for()
    assert page.locator("#result").inner_text().split() == ["b", "1", "a", "9007199254740993", "1", "x"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    assert json.loads(download.value.path().read_text(encoding="utf-8")) == [{"b": 2**53 + 1, "1": 1, "a": "x"}]
    page.get_by_label("Statement").fill("SELECT id, title FROM documents WHERE 0")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("0 rows in").wait_for()
    assert page.locator("#result").inner_text().split() == ["id", "title"]
    page.get_by_label("Statement").fill("DELETE FROM documents")
    page.get_by_role("button", name="Run").click()
    page.locator("#sql-problem").wait_for()
    assert "only read here" in page.locator("#sql-problem").inner_text()
    page.reload()
    assert statement[:40] in page.locator("#past button").nth(2).inner_text()
    page.get_by_role("button", name="Forget").click()
    assert page.locator("#past button").count() == 0
    assert [said for said in page.said if "403" not in said] == []


def test_a_link_runs_no_statement(enter):
    """A link can bring a statement, and it is the reader who runs it."""
    page = enter("/?view=sql&sql=SELECT+1+AS+x")
    assert page.get_by_label("Statement").input_value() == "SELECT 1 AS x"
    assert page.locator("#result td").count() == 0
    page.get_by_role("button", name="Run").click()
    page.locator("#result td").first.wait_for()


def test_what_is_in_here(enter):
    """Indexes, counts, models, tokens over the window, freshness, tables."""
    page = enter()
    page.get_by_role("tab", name="What is in here").click()
    page.get_by_text("up to date").wait_for()
    text = page.locator("#here").inner_text()
    for fact in ("25 in documents", "all-MiniLM-L6-v2", "reranker-v1", "0 chunks (0.0 %)", "porter", "25 rows"):
        assert fact in text, fact
    assert "[object" not in text


def test_an_index_over_a_table_that_lacks_rows(enter, tmp_path):
    """Rows are shown by their key and columns, on DuckDB as well; what waits is said; two indexes can be chosen from."""
    path = tmp_path / "shop.duckdb"
    with sqlrag.connect(path) as db:
        db.execute("CREATE TABLE review (id INTEGER PRIMARY KEY, product TEXT, body TEXT)")
        db.execute("INSERT INTO review VALUES (7, 'kettle', 'It boils fast.'), (8, 'lamp', 'It lights my desk.')")
        db.create_index("reviews", "review", "body", filters=["product"])
        db.create_index("products", "review", "product")
        db.execute("INSERT INTO review VALUES (9, 'lamp', 'The switch feels cheap.')")
    with served(path, "--http") as shop:
        page = enter("/?q=how+quick+is+it%3F&index=reviews&n=1&k=2", shop)
        page.locator("article.hit").wait_for()
        assert "row 7" in page.locator("article.hit").inner_text()
        assert "product: kettle" in page.locator("article.hit").inner_text()
        assert "does not have 1 changed row of review yet" in page.locator("#note").inner_text()
        page.get_by_text("Text", exact=True).click()
        until(page, "state.stage === 'text' && !document.querySelector('.stale')")
        page.get_by_text("Hybrid", exact=True).click()
        until(page, "state.stage === 'hybrid' && !document.querySelector('.stale')")
        assert "row 7" in page.locator("article.hit").inner_text()
        page.get_by_label("Index").first.select_option("products")
        until(page, "found?.index === 'products'")
        page.get_by_role("tab", name="What is in here").click()
        page.get_by_text("1 row waits").first.wait_for()


def test_does_reranking_pay(enter, tmp_path, passage_files, monkeypatch):
    """An evaluation on request, with progress, which can be cancelled; its result stays, as that of `sqlrag eval`."""
    monkeypatch.setenv("SQLRAG_CACHE", str(tmp_path / "cache"))
    path = copy_of(passage_files["sqlite"], tmp_path, "measured")
    with served(path, "--http") as measuring:
        page = enter("/?view=pays", measuring)
        page.get_by_text("Nothing has been measured").wait_for()
        page.get_by_label("Questions").fill("25")
        page.get_by_role("button", name="Measure").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("cancelled").wait_for()
        page.get_by_label("Questions").fill("5")
        page.get_by_role("button", name="Measure").click()
        page.locator(".verdict").first.wait_for(timeout=120_000)
        assert page.locator(".verdict").count() == 3
        assert page.locator(".plot svg path").count() >= 12
        assert "5 questions" in page.locator("#evaluation").inner_text()
        page.reload()
        page.locator(".verdict").first.wait_for()
        assert page.said == []


def test_while_typing(enter):
    """Once a search takes under 100 ms, answers appear without Enter."""
    page = enter(ASKED)
    page.locator("article.hit").first.wait_for()
    page.evaluate("last = 5")
    page.get_by_label("Question", exact=True).fill("tides and the moon")
    until(page, "document.querySelector('article.hit h2').textContent === 'Tides'")
    page.evaluate("last = 500")
    page.get_by_label("Question", exact=True).fill("why do bees dance")
    page.wait_for_timeout(400)
    assert page.locator("article.hit h2").first.inner_text() == "Tides"


def test_few_bytes(enter):
    """A search takes less than 100 kB, and the page with all that is in it less than 150 kB."""
    sizes: dict[str, int] = {}
    page = enter("/?k=25&n=25")
    page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
    page.reload()
    until(page, "about !== null")
    ask(page)
    assert sum(size for address, size in sizes.items() if "/page/" not in address) < 150_000
    assert 1_000 < sum(size for address, size in sizes.items() if re.search("/page/(ask|marks)", address)) < 100_000

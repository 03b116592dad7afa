"""A folder as the demo leaves it, but small: documentation of some modules on both engines, and pages to ingest."""

from __future__ import annotations

import csv
import json
import re
import shutil
from functools import partial

import pytest

import sqlrag
from sqlrag.cli.standard_library import harvest
from tests.conftest import made_once
from tests.docs.reader import PAGES, ROOT

PASSAGES = ROOT / "tests" / "passages.jsonl"

# What the examples and the pages ask about, and enough beside it to choose from.
MODULES = {"glob", "heapq", "random", "tempfile", "timeit"}
TITLES = {
    "collections.Counter", "collections.Counter.most_common", "collections.OrderedDict", "collections.deque",
    "json.dump", "json.dumps", "os.fsdecode", "os.fsencode", "os.listdir", "os.walk", "shutil.copyfile", "shutil.move",
    "shutil.rmtree", "smtplib", "smtplib.SMTP", "smtplib.SMTP.send_message", "smtplib.SMTP.sendmail",
    "statistics.multimode", "sys.getsizeof", "time.perf_counter", "time.strptime",
}  # fmt: skip


@pytest.fixture(scope="session")
def harvested():
    """Documents for the small database; every `dotted.name` that a page prints as a result is among them."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    printed = set(re.findall(r"\w+(?:\.\w+)+", text))
    documents = [
        document
        for document in harvest()
        if document.metadata["module"] in MODULES or document.title in TITLES or document.title in printed
    ]
    assert {document.title for document in documents} >= TITLES
    return documents


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, harvested):
    """The folder that tests copy: `python-stdlib.db`, `.duckdb`, `docs/`, `articles.jsonl`, `.csv`, `examples/`."""
    return made_once(tmp_path_factory, "prepared", partial(prepare, harvested))


def prepare(harvested, folder):
    """Fill the folder."""
    folder.mkdir()
    for name in ("python-stdlib.db", "python-stdlib.duckdb"):
        with sqlrag.connect(folder / name) as db:
            assert db.ingest(harvested).added == len(harvested)
    (folder / "examples").symlink_to(ROOT / "examples")
    articles = [json.loads(line) for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    (folder / "docs").mkdir()
    for article in articles:
        page = f"# {article['title']}\n\n{article['text']}\n"
        (folder / "docs" / f"{article['id']}.md").write_text(page, encoding="utf-8")
    shutil.copy(PASSAGES, folder / "articles.jsonl")
    with (folder / "articles.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, ["id", "title", "topic", "year", "text"])
        rows.writeheader()
        rows.writerows(articles)

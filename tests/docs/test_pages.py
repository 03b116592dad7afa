"""Every fenced block of README.md and of the pages in docs/ runs, and links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil

import pytest

from sqlrag.cli import cli
from tests.docs.reader import PAGES, ROOT, Reader, blocks_of

spec = importlib.util.spec_from_file_location("pages", ROOT / "scripts" / "pages.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)

TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    pytest.param(page, place, id=f"{page}, line {block.line}: {block.language or 'text'}")
    for page, text in TEXTS.items()
    for place, block in enumerate(blocks_of(text))
]


@pytest.fixture(scope="module")
def titles(harvested) -> set[str]:
    """The titles of the small database."""
    return {document.title for document in harvested}


@pytest.fixture(scope="module")
def readers(prepared, titles, tmp_path_factory):
    """The reader of each page, made when its first block is read."""
    found: dict[str, Reader] = {}

    def reader_of(page: str) -> Reader:
        if page not in found:
            for other in found.values():
                other.close()
            folder = shutil.copytree(prepared, tmp_path_factory.mktemp("page") / "here", symlinks=True)
            found[page] = Reader(TEXTS[page], folder, titles, page)
        return found[page]

    yield reader_of
    for reader in found.values():
        reader.close()


@pytest.mark.parametrize(("page", "place"), BLOCKS)
def test_block(page, place, readers):
    """The block does what the page says."""
    readers(page).read(place)


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_left_to_fill_in(page):
    """No figure or output is still a placeholder."""
    assert re.findall(r"@@\w+@@", TEXTS[page]) == []


def test_the_readme_is_short():
    """It is for a first look; everything else is in docs/."""
    assert len(TEXTS["README.md"].splitlines()) < 200


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page):
    """Each `sqlrag command` that the text names is one."""
    assert set(re.findall(r"`sqlrag ([a-z-]+)", TEXTS[page])) <= set(cli.commands)


@pytest.mark.parametrize("page", [*PAGES, *(path for path in site.pages() if path.endswith(".md"))])
def test_links_lead_somewhere(page):
    """A relative link names a file or folder of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [path for path, _ in site.links(text) if not (ROOT / page).parent.joinpath(path).exists()] == []


def test_the_site_has_the_links_of_the_repository():
    """A link between pages stays one; a link to a file leads to the repository; a missing file is reported."""
    missing: list[str] = []
    text = "[a](../README.md#install) [b](../scripts/pages.py) [c](sql.md) [d](no.md) `[e](no.md)` ![f](two-stages.svg)"
    shown = site.for_the_site(text, "docs/search.md", "https://host/sqlrag", missing.append)
    assert shown == (
        "[a](index.md#install) [b](https://host/sqlrag/blob/main/scripts/pages.py) [c](sql.md) [d](no.md) "
        "`[e](no.md)` ![f](two-stages.svg)"
    )
    assert missing == ["no.md"]
    assert site.for_the_site("[b](scripts)", "README.md", None, missing.append) == "b"
    assert site.for_the_site("[g](../docs/sql.md)", "benchmarks/README.md", None, missing.append) == "[g](../sql.md)"


WRONG = {
    "a statement that fails": ("```sql\nSELECT nothing FROM chunks\n```", "nothing"),
    "a statement without rows": ("```sql\nSELECT 1 FROM chunks WHERE id < 0\n```", "no rows on sqlite"),
    "an engine's own SQL": ("```sql\nSELECT sqlite_version()\n```", "sqlite_version"),
    "a program that fails": ("```python\nimport sqlrag\nsqlrag.conect('x.db')\n```", "conect"),
    "a command that fails": ("```console\n$ sqlrag search python-stdlib.db\n```", "QUESTION"),
    "an option that is none": ("```sh\nsqlrag demo --motor duckdb\n```", "--motor"),
    "a target that is none": ("```console\n$ make coffee\n```", "no target coffee"),
    "an extra that is none": ('```sh\npip install "sqlrag[gpu]"\n```', "no extra ['gpu']"),
    "another language": ("```ruby\nputs 1\n```", "```ruby"),
    "output of nothing": ("```text\n0.9  timeit\n```", "nothing was run"),
    "another first result": ("```console\n$ echo 1 timeit.Timer\n0.9  timeit.timeit\n```", "not timeit.timeit"),
    "another result of SQL": (
        "```sql\nSELECT 'random.choice'\n```\n```text\nrandom.shuffle\n```",
        "not random.shuffle",
    ),
    "another output": ("```console\n$ echo three dogs\n3 cats\n```", "cats"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(text, message, prepared, titles, tmp_path):
    """A README that says something wrong does not pass: each rule above can fail."""
    reader = Reader(text, shutil.copytree(prepared, tmp_path / "here", symlinks=True), titles)
    with pytest.raises(Exception, match=re.escape(message)):
        reader.read(len(reader.blocks) - 1)


def test_what_is_right_passes(prepared, titles, tmp_path):
    """Blocks build on each other, output may be cut and differ in its numbers, and what can't be run is left out."""
    text = """
```console
$ make test     # a comment
$ sqlrag sql python-stdlib.db -p q="choose a random element" \\
    "SELECT title, score FROM search('chunks', :q) JOIN documents AS d ON d.id = source_id"
title     score
…
random.choice  0.1
```
```sql sqlite
SELECT vec_version() AS version, 'timeit.Timer'
```
```text
version
v9.9.9  timeit.Timer
```
```python
import sqlrag
found = sqlrag.connect("python-stdlib.db").search("choose a random element")
print("not of the next block")
```
```python
print(found[0].title, 25)
```
```
random.choice 24
```
<!-- not run: no such model here -->
```python
sqlrag.connect("other.db", embedder="no/such-model")
```
"""
    reader = Reader(text, shutil.copytree(prepared, tmp_path / "here", symlinks=True), titles)
    assert [block.language for block in reader.blocks] == ["console", "sql", "text", "python", "python", "", "python"]
    for place in range(len(reader.blocks)):
        reader.read(place)

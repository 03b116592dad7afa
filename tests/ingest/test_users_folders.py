"""Folders of users, by the letters of the list: what is found, counted, named and pruned on both engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sqlrag.errors import InputError, SourceError
from sqlrag.evaluation.task import DOCUMENT_ID
from sqlrag.text.documents import Document

TOKYO = "東京タワーは高い"
THAI = "ภาษาไทยเป็นภาษาที่สวยงามและมีประวัติศาสตร์ยาวนาน"


def found(db, query: str) -> list[str]:
    """Return the titles of the documents that full text finds."""
    sql = (
        "SELECT d.title FROM text_top_k('chunks', ?, 9) AS h JOIN chunks AS c ON c.id = h.id "
        "JOIN documents AS d ON d.id = c.source_id ORDER BY h.rank"
    )
    return [title for (title,) in db.execute(sql, [query])]


def test_c_documents_without_text_are_named_and_counted_once(fresh, tmp_path):
    """The report says which files gave no text; `info` counts what `documents` has."""
    (tmp_path / "a.html").write_text("<title>A</title><script>app()</script>")
    (tmp_path / "b.txt").write_text(" \n ")
    (tmp_path / "c.txt").write_text("text")
    report = fresh.ingest(tmp_path)
    assert report.added == 3
    assert [uri.rpartition("/")[2] for uri in report.empty] == ["a.html", "b.txt"]
    assert [info.documents for info in fresh.info()] == [3]
    assert fresh.execute("SELECT count(*) FROM documents").fetchall() == [(3,)]


def test_f_offsets_lead_to_the_text_in_sql(fresh, tmp_path):
    """After a NUL too; and `check` asserts it, whatever has changed a text."""
    (tmp_path / "r.jsonl").write_text('{"text": "one\\u0000two. ' + "The ferry leaves at nine. " * 90 + '"}\n')
    fresh.ingest(tmp_path)
    sql = (
        "SELECT count(*), "
        "count(CASE WHEN substr(d.text, c.start_char + 1, c.end_char - c.start_char) = c.text THEN 1 END) "
        "FROM chunks AS c JOIN documents AS d ON d.id = c.source_id"
    )
    ((chunks, right),) = fresh.execute(sql).fetchall()
    assert chunks == right > 1
    assert fresh.check() == []
    nul = "char(0)" if fresh.engine == "sqlite" else "chr(0)"
    for change, problems in (
        ("'x' || text", [f"{chunks} chunks are not what their document has at their offsets"]),
        (f"'y' || {nul} || text", ["1 documents have a NUL, at which SQL's functions end a text", None]),
    ):
        fresh.execute(f"UPDATE documents SET text = {change}").fetchall()
        found = fresh.check()
        assert found[0] == f"chunks: {problems[0]}: sqlrag check --repair mends it"
        assert len(found) == len(problems)
        assert fresh.repair() == []
    assert fresh.execute("SELECT text FROM documents").fetchall()[0][0].startswith("y\ufffdxone\ufffdtwo")
    ((_, right),) = fresh.execute(sql).fetchall()
    assert right == chunks


def test_g_j_k_words_titles_and_languages_are_found(fresh, tmp_path):
    """Full text finds ligatures and soft hyphens, titles, headings, and words of languages without spaces."""
    (tmp_path / "r.jsonl").write_text(
        '{"title": "Kettle XL 2000", "text": "Boils water in two minutes."}\n'
        '{"title": "Forms", "text": "Das o\ufb03ce hat ein Ge\u00adsamt\u00adkonzept f\u00fcr \uff33\uff31\uff2c."}\n'
        f'{{"title": "Thai", "text": "{THAI}"}}\n{{"title": "Tokyo", "text": "{TOKYO}"}}\n'
    )
    fresh.ingest(tmp_path)
    assert found(fresh, "XL 2000") == ["Kettle XL 2000"]
    for word in ("office", "Gesamtkonzept", "SQL", "O\ufb03ce"):
        assert found(fresh, word) == ["Forms"], word
    assert found(fresh, "สวยงาม") == ["Thai"]
    assert found(fresh, "タワー") == found(fresh, "東京") == found(fresh, "東") == ["Tokyo"]
    assert fresh.search("XL 2000", top_n=1)[0].title == "Kettle XL 2000"
    assert fresh.check() == []


def test_j_versions_and_dates_are_found_as_a_whole(fresh, tmp_path):
    """Of many release notes with the same numbers, the one that is asked for comes first."""
    for version in ("1.6.0.3", "1.6.3.0", "1.3.6.0", "6.0.1.3", "1.6.0.30"):
        (tmp_path / f"{version}.txt").write_text(
            f"Release notes\n\nVersion v{version} fixes 3 bugs of 1 kind and 6 others.\n"
        )
    fresh.ingest(tmp_path)
    for version in ("1.6.0.3", "6.0.1.3"):
        assert found(fresh, f"what was fixed in v{version}?")[0] == f"{version}.txt"


def test_j_every_chunk_knows_its_title_and_headings(fresh, tmp_path):
    """A section of several chunks, and a long table with its header; offsets are those of the text alone."""
    rows = "\n".join(f"| item {number} | {number} EUR |" for number in range(60))
    text = f"# Kettle\n\n## Cleaning\n\n{'Use vinegar and water. ' * 60}\n\n## Parts\n\n"
    text += f"| part | price |\n| --- | --- |\n{rows}\n"
    (tmp_path / "a.md").write_text(text)
    fresh.ingest(tmp_path, max_tokens=60)
    chunks = fresh.execute("SELECT context, text, start_char, end_char FROM chunks ORDER BY ordinal").fetchall()
    contexts = [context for context, chunk, _, _ in chunks if chunk.startswith("Use vinegar")]
    assert len(contexts) > 3
    assert set(contexts) == {"Kettle > Cleaning\n"}
    tables = {context for context, chunk, _, _ in chunks if chunk.startswith("| item")}
    assert tables == {"Kettle > Parts\n| part | price |\n"}
    assert all(text[start:end] == chunk for _, chunk, start, end in chunks)
    remade = fresh.reindex(max_tokens=80)
    assert remade.added == 1
    contexts = {context for (context,) in fresh.execute("SELECT context FROM chunks")}
    assert "Kettle > Cleaning\n" in contexts
    assert fresh.check() == []


def test_j_the_statement_scores_a_context_as_search_does(fresh, tmp_path):
    """`context || text` is what search() reranks."""
    (tmp_path / "a.md").write_text("# Kettle XL\n\nIt boils water.\n\n## Price\n\nForty euros.\n")
    fresh.ingest(tmp_path)
    hit = fresh.search("What does the Kettle XL cost?", top_n=1)[0]
    sql = "SELECT rerank_score(:q, context || text) FROM chunks WHERE id = :id"
    ((score,),) = fresh.execute(sql, {"q": "What does the Kettle XL cost?", "id": hit.id}).fetchall()
    assert score == pytest.approx(hit.score, abs=1e-5)
    assert hit.text.startswith("## Price")


def test_k_unknown_tokens_are_counted(fresh, tmp_path):
    """A Thai page has chunks of bounded length, and tokens that the model does not know."""
    (tmp_path / "a.txt").write_text(THAI * 60)
    report = fresh.ingest(tmp_path)
    assert report.unknown == report.tokens > 0
    assert fresh.execute("SELECT max(length(text)) FROM chunks").fetchall()[0][0] <= 700


def test_k_a_language_decides_about_stems(fresh, tmp_path):
    """English words have stems, those of other languages stay as they are."""
    (tmp_path / "a.txt").write_text("Sailing ships")
    fresh.ingest(tmp_path, "english", language="en-GB")
    fresh.ingest(tmp_path, "german", language="de")
    assert {info.index: info.tokenizer for info in fresh.info()} == {"english": "porter", "german": "unicode61"}
    with pytest.raises(InputError, match="language is 'deutsch': it is a code such as 'en', 'de' or 'zh-Hant'"):
        fresh.ingest(tmp_path, "other", language="deutsch")


def test_p_max_errors_stops(fresh, tmp_path):
    """What was read before stays."""
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\nno\nno\n{"text": "b"}\n')
    with pytest.raises(SourceError, match=r"stopped at more than 1 errors \(max_errors\)"):
        fresh.ingest(tmp_path, max_errors=1)
    assert fresh.execute("SELECT text FROM documents").fetchall() == [("a",)]
    assert fresh.ingest(tmp_path).added == 1


def test_s_a_number_sign_separates_rows_only_in_files_of_rows(fresh, tmp_path):
    """`a.md#old.md` is a file of its own, and `C#/intro.md` has its whole path as its id."""
    docs = tmp_path / "C#"
    docs.mkdir()
    for name in ("a.md", "a.md#old.md"):
        (docs / name).write_text(name)
    (docs / "r.jsonl").write_text('{"id": 7, "text": "row"}\n')
    fresh.ingest(docs)
    ids = {name for (name,) in fresh.execute(f"SELECT {DOCUMENT_ID} FROM documents")}
    assert ids == {f"{docs}/a.md", f"{docs}/a.md#old.md", "7"}
    assert fresh.ingest(docs / "a.md", prune=True).removed == 0
    (docs / "r.jsonl").write_text("")
    assert fresh.ingest(docs / "r.jsonl", prune=True).removed == 1


def test_t_metadata_follow_the_folder_that_is_named(fresh, tmp_path):
    """The place of a file is that of the last call, and nothing is embedded again."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("---\nyear: 2020\n---\n# A\n")
    fresh.ingest(tmp_path / "docs")
    before = fresh.embedder.texts_encoded
    assert fresh.ingest(tmp_path).unchanged == 1
    place = "SELECT metadata ->> 'folder', metadata ->> 'path', metadata ->> 'year' FROM documents"
    assert [tuple(map(str, row)) for row in fresh.execute(place)] == [("docs", "docs/a.md", "2020")]
    assert fresh.embedder.texts_encoded == before


def test_documents_that_are_left_out_are_not_pruned(fresh, tmp_path):
    """A pattern says what to read now, and not what to forget."""
    for name in ("a.md", "b.txt"):
        (tmp_path / name).write_text(name)
    fresh.ingest(tmp_path)
    report = fresh.ingest(tmp_path, include=["*.md"], prune=True)
    assert (report.unchanged, report.removed) == (1, 0)
    with pytest.raises(InputError, match="encoding is 'klingon', which Python does not know"):
        fresh.ingest(tmp_path, encoding="klingon")
    with pytest.raises(InputError, match=r"include is '\*\.md', and should be a list of patterns"):
        fresh.ingest(tmp_path, include="*.md")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_m_output_in_any_encoding(fresh, tmp_path, encoding):
    """`search`, `sql` and `--json` write what the encoding of a pipe has, and input is told in one line."""
    path = str(tmp_path / "m.db")
    (tmp_path / "a.txt").write_text("The caf\u00e9 has \u6771\u4eac on its sign.")
    environment = os.environ | {"PYTHONIOENCODING": encoding}

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sqlrag", *arguments]
        return subprocess.run(command, input=stdin, env=environment, capture_output=True, check=False)

    assert run("ingest", path, str(tmp_path / "a.txt")).returncode == 0
    searched = run("search", path, "sign", "--top-n", "1")
    assert searched.returncode == 0
    assert b"on its sign" in searched.stdout
    written = run("sql", path, "SELECT text FROM documents", "--json")
    assert written.returncode == 0
    assert b"on its sign" in written.stdout
    for command in ("sql", "shell"):
        refused = run(command, path, stdin=b"SELECT '\xff\xfe\x81';")
        if encoding != "cp1252":
            assert refused.returncode != 0
        assert b"Traceback" not in refused.stderr
    del fresh


def test_u_names_of_files_are_shown_escaped(fresh, tmp_path):
    """An escape sequence in a name does not reach the terminal."""
    name = "ev\x1b[31mil\n.txt"
    (tmp_path / name).write_bytes(b"\xff")
    command = [sys.executable, "-m", "sqlrag", "ingest", str(tmp_path / "u.db"), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ev\\x1b[31mil\\n.txt: not UTF-8" in told.stderr
    assert "\x1b" not in told.stderr + told.stdout
    del fresh


def test_documents_of_the_caller_with_a_nul(fresh):
    """They pass the same gate."""
    fresh.ingest([Document("a", "t", "x\0y", {"k": "\0"}, "h")])
    assert fresh.execute("SELECT text FROM documents").fetchall() == [("x\ufffdy",)]
    assert fresh.check() == []


def test_v_copies_of_a_passage_are_one_hit(fresh, tmp_path):
    """Thirty copies of a file do not fill the answer; the hit names them all."""
    for number in range(30):
        (tmp_path / f"copy{number:02}.txt").write_text("The ferry leaves at nine in the morning.")
    (tmp_path / "other.txt").write_text("A ferry crosses the lake. In winter it leaves at ten.")
    (tmp_path / "third.txt").write_text("Bread is baked before dawn.")
    fresh.ingest(tmp_path)
    hits = fresh.search("when does the ferry leave?")
    assert [hit.rank_after for hit in hits] == [1, 2, 3]
    assert len({hit.text for hit in hits}) == 3
    [ferry] = [hit for hit in hits if hit.text.startswith("The ferry")]
    assert len({ferry.uri, *ferry.copies}) == 30
    rows = fresh.execute("SELECT id, source_id, copies FROM search('chunks', 'when does the ferry leave?')").fetchall()
    assert [row[0] for row in rows] == [hit.id for hit in hits]
    [(source, copies)] = [(row[1], json.loads(row[2])) for row in rows if row[2] != "[]"]
    assert len({source, *copies}) == 30
    sql = "SELECT copies IS NULL FROM search('chunks', 'when does the ferry leave?', 32, 32) ORDER BY rank_after"
    assert [bool(is_copy) for (is_copy,) in fresh.execute(sql)] == [False] * 3 + [True] * 29
    compared = fresh.compare("when does the ferry leave?")
    assert compared.hits == hits
    assert len(compared.candidates) == 3

"""Files of rows: one document a row, exact values, and a line number for what is broken."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sqlrag.text.loading import Document, Unreadable, find_sources, read_documents, row_columns

ROWS = [
    {"id": "a1", "title": "First", "text": 'One text,\nwith a "quote"', "year": 2020, "score": 1.5, "lang": "en"},
    {"id": "b2", "title": "Zweiter", "text": "Ein Text; größer", "year": 2021, "score": 2.0, "lang": "de"},
]  # fmt: skip


def read(path: Path, **columns) -> tuple[list[Document], list[str]]:
    """Return the documents of a file and the reasons for what could not be read, all of which name the file."""
    [source] = find_sources(path).sources
    items = list(read_documents(source, row_columns(**columns)))
    bad = [item for item in items if isinstance(item, Unreadable)]
    assert all(item.uri == path.as_posix() for item in bad)
    return [item for item in items if isinstance(item, Document)], [item.reason for item in bad]


def write_rows(path: Path, rows: list[dict]) -> Path:
    """Write rows in the format that the suffix names, as its usual library does."""
    import csv

    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if name.endswith(("sv",)):
            writer = csv.DictWriter(file, list(rows[0]), dialect="excel-tab" if "tsv" in name else "excel")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.mark.parametrize(
    "name", ["r.jsonl", "r.ndjson", "r.csv", "r.tsv", "r.parquet", "r.jsonl.gz", "r.ndjson.gz", "r.csv.gz", "r.tsv.gz"]
)
def test_every_format_gives_the_same_documents(tmp_path, name):
    """Text, title, key and typed metadata are the same whichever format carried them."""
    path = write_rows(tmp_path / name, ROWS)
    documents, bad = read(path)
    assert bad == []
    assert [document.uri for document in documents] == [f"{path.as_posix()}#a1", f"{path.as_posix()}#b2"]
    assert [document.title for document in documents] == ["First", "Zweiter"]
    assert [document.text for document in documents] == [row["text"] for row in ROWS]
    assert [document.metadata for document in documents] == [
        {"year": 2020, "score": 1.5, "lang": "en"},
        {"year": 2021, "score": 2.0, "lang": "de"},
    ]
    assert documents[0].content_hash != documents[1].content_hash


def test_a_beir_corpus(tmp_path):
    """`corpus.jsonl.gz` with `_id, title, text` needs no options."""
    path = tmp_path / "corpus.jsonl.gz"
    rows = [
        {"_id": "MED-10", "title": "Statins", "text": "Recent studies."},
        {"_id": "MED-14", "title": "", "text": ""},
    ]
    documents, bad = read(write_rows(path, rows))
    assert bad == []
    assert [(document.uri, document.title, document.text, document.metadata) for document in documents] == [
        (f"{path.as_posix()}#MED-10", "Statins", "Recent studies.", {}),
        (f"{path.as_posix()}#MED-14", "", "", {}),
    ]


@pytest.mark.data
def test_a_real_beir_corpus(shared_data):
    """NFCorpus is read whole, with the ids that its judgements use."""
    documents, bad = read(shared_data / "eval/nfcorpus/corpus.jsonl.gz")
    assert (len(documents), bad) == (3633, [])
    judged = (shared_data / "eval/nfcorpus/qrels/test.tsv").read_text().splitlines()[1:]
    assert {line.split("\t")[1] for line in judged} <= {document.uri.partition("#")[2] for document in documents}


def test_named_columns(tmp_path):
    """Several text columns are joined by a blank line; only the named metadata is kept."""
    path = write_rows(tmp_path / "r.parquet", ROWS)
    documents, bad = read(path, text=["title", "text"], title="lang", id="year", metadata=["score"])
    assert bad == []
    assert documents[1].text == "Zweiter\n\nEin Text; größer"
    assert (documents[1].title, documents[1].uri[-5:], documents[1].metadata) == ("de", "#2021", {"score": 2.0})


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
def test_rows_without_a_key_are_numbered(tmp_path, name):
    """Where there is no id column a row's number, from 1, is its key."""
    documents, bad = read(write_rows(tmp_path / name, [{"text": "a"}, {"text": "b"}]))
    assert bad == []
    assert [document.uri.partition("#")[2] for document in documents] == ["1", "2"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "has no column 'text'; its columns are body, year: say which of them is the text"),
        ({"text": "body", "title": "name"}, "has no column 'name'; its columns are body, year"),
        ({"text": "body", "metadata": ["year", "lang"]}, "has no column 'lang'; its columns are body, year"),
    ],
)
def test_a_missing_column_is_named_with_those_there_are(tmp_path, name, columns, message):
    """The reason says what to write instead."""
    _, bad = read(write_rows(tmp_path / name, [{"body": "x", "year": 2020}]), **columns)
    assert len(bad) == 1
    assert bad[0].startswith(message)


def test_rows_without_a_text_are_no_documents(tmp_path):
    """NULL is nothing to search; with several text columns the others count."""
    path = write_rows(tmp_path / "r.jsonl", [{"text": None, "more": None}, {"text": "a", "more": None}, {"text": ""}])
    assert [document.uri.partition("#")[2] for document in read(path)[0]] == ["2", "3"]
    assert [document.text for document in read(path, text=["text", "more"])[0]] == ["a", ""]


def test_a_row_without_its_id_is_named(tmp_path):
    """A row number in its place could be another row's id."""
    documents, bad = read(write_rows(tmp_path / "r.jsonl", [{"id": "x", "text": "a"}, {"id": None, "text": "b"}]))
    assert len(documents) == 1
    assert bad == ["row 2 has no id in column 'id'"]


def test_values_become_json(tmp_path):
    """What JSON lacks is written as people expect: ISO dates, base64, null for NaN, a number as its digits."""
    moment = dt.datetime(2024, 2, 29, 12, 30, 0, 123456, dt.timezone.utc)
    row = {
        "text": 12,
        "date": dt.date(2024, 2, 29),
        "moment": moment,
        "time": dt.time(12, 30),
        "span": dt.timedelta(minutes=1.5),
        "price": decimal.Decimal("12.50"),
        "whole": decimal.Decimal("12.00"),
        "nan": float("nan"),
        "bytes": b"\x00\xff",
        "yes": True,
        "none": None,
        "nested": {"tags": ["a", "b"], "n": 1},
    }
    table = pa.Table.from_pylist([row])
    table = table.append_column("ns", pa.array([1_709_209_800_123_456_789], pa.timestamp("ns")))
    table = table.append_column("far", pa.array([-70_000_000_000_000], pa.timestamp("ms")))
    parquet.write_table(table, tmp_path / "r.parquet")
    [document], bad = read(tmp_path / "r.parquet")
    assert bad == []
    assert document.text == "12"
    assert json.loads(json.dumps(document.metadata, allow_nan=False)) == {
        "date": "2024-02-29",
        "moment": "2024-02-29T12:30:00.123456+00:00",
        "time": "12:30:00",
        "span": 90.0,
        "price": 12.5,
        "whole": 12,
        "nan": None,
        "bytes": "AP8=",
        "yes": True,
        "none": None,
        "nested": {"tags": ["a", "b"], "n": 1},
        "ns": "2024-02-29T12:30:00.123456",
        "far": "-0249-10-15 19:33:20.000",
    }


def test_csv_numbers_are_typed_by_column(tmp_path):
    """A column is a number if all of it is: so `year >= 2020` works, and postcodes keep their zeros."""
    path = tmp_path / "r.csv"
    path.write_text("text,year,ratio,code,mixed,empty\na,2020,1,01234,1,\nb,,2.5,90210,x,\n")
    documents, bad = read(path)
    assert bad == []
    assert [document.metadata for document in documents] == [
        {"year": 2020, "ratio": 1.0, "code": "01234", "mixed": "1", "empty": None},
        {"year": None, "ratio": 2.5, "code": "90210", "mixed": "x", "empty": None},
    ]


def test_hashes_follow_the_row(tmp_path):
    """Text, title and metadata change a row's hash; its place in the file and the order of its columns do not."""

    def hash_of(row: dict) -> str:
        return read(write_rows(tmp_path / "r.jsonl", [row]))[0][0].content_hash

    first = hash_of({"text": "a", "title": "t", "year": 1})
    assert first == hash_of({"year": 1, "title": "t", "text": "a", "id": "moved"})
    assert len({first, hash_of({"text": "b", "title": "t", "year": 1}), hash_of({"text": "a", "title": "t"})}) == 3


@pytest.mark.parametrize(
    ("name", "content", "read_texts", "reasons"),
    [
        (
            "r.jsonl",
            b'{"text": "a"}\n{"text": \n[1]\n\n{"text": "caf\xe9"}\n{"text": "\\ud800"}\n{"text": "z"}',
            ["a", "z"],
            [
                "line 2 is not JSON: Expecting value",
                "line 3 is not a JSON object but a list",
                "line 5 is not UTF-8: byte 0xe9 at offset 13 (it may be cp1252)",
                "row 6 has a lone surrogate in it, so it is not Unicode",
            ],
        ),
        ("r.jsonl", b'\xef\xbb\xbf{"text": "after a mark"}\r\n', ["after a mark"], []),
        ("r.jsonl", b'{"text": ' + b"[" * 100_000 + b"}\n", [], ["line 1 is not JSON"]),
        ("r.jsonl", b"", [], []),
        (
            "r.csv",
            b'text,year\na,1\n"b\nb",2\nc\nd,4,5\n"e" e,5\nf,6\n',
            ["a", "b\nb", "f"],
            [
                "line 5 has 1 fields, and the header 2",
                "line 6 has 3 fields, and the header 2",
                "line 7 is not CSV: ',' expected after '\"'",
            ],
        ),
        (
            "r.csv",
            b'text\na\n"never closed\nb\n',
            ["a", "b"],
            ["lines 3 to 4 are not CSV: unexpected end of data; line 3 is left out, the others are read again"],
        ),
        ("r.csv", b"\xef\xbb\xbftext\r\na\r\n\r\nb\r\n", ["a", "b"], []),
        ("r.csv", "text,n\ngrößer,1\n".encode("utf-16"), ["größer"], []),
        ("r.csv", b"text\ncaf\xe9\n", [], ["not UTF-8: byte 0xe9 at offset 8 (it may be cp1252); "]),
        ("r.csv", b"", [], ["is empty: it has no header line"]),
        ("r.csv", b"text,text\na,b\n", [], ["its header names a column twice: text, text"]),
        ("r.parquet", b"PAR1 is not enough", [], ["cannot be read as Parquet after row 0: "]),
        ("r.jsonl.gz", b"not gzip", [], ["not a gzipped file"]),
    ],
)
def test_what_is_broken_is_named_and_the_rest_is_read(tmp_path, name, content, read_texts, reasons):
    """One bad row costs one row, its line is said, and no exception leaves."""
    (tmp_path / name).write_bytes(content)
    documents, bad = read(tmp_path / name)
    assert [document.text for document in documents] == read_texts
    assert len(bad) == len(reasons)
    for said, expected in zip(bad, reasons, strict=True):
        assert said.lower().startswith(expected.lower())


def test_many_bad_rows_are_counted(tmp_path):
    """Ten thousand reasons help nobody."""
    (tmp_path / "r.jsonl").write_text("no json\n" * 10_000)
    documents, bad = read(tmp_path / "r.jsonl")
    assert (documents, len(bad)) == ([], 21)
    assert bad[-1] == "9,980 more rows could not be read"


def test_a_compressed_file_that_is_cut_short_gives_what_it_has(tmp_path):
    """A broken download: the rows before the end are there, and the end is said."""
    data = gzip.compress("".join(f'{{"text": "{number} {hash(number)}"}}\n' for number in range(20_000)).encode())
    (tmp_path / "r.jsonl.gz").write_bytes(data[: len(data) // 2])
    documents, bad = read(tmp_path / "r.jsonl.gz")
    assert len(documents) > 1000
    assert bad == ["compressed file ended before the end-of-stream marker was reached"]


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_a_long_field_is_read(tmp_path, name):
    """A field of several megabytes is longer than the standard library's own limit."""
    documents, bad = read(write_rows(tmp_path / name, [{"text": "word " * 1_000_000}]))
    assert (len(documents[0].text), bad) == (5_000_000, [])


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    """Rows are read as they are asked for: a file of 30 MB takes a few."""
    path = write_rows(tmp_path / name, [{"text": f"{number} " * 500} for number in range(10_000)])
    [source] = find_sources(path).sources
    for _ in read_documents(source):
        break  # what is imported once is not counted
    tracemalloc.start()
    assert sum(1 for _ in read_documents(source)) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def streamed(path):
    """Return the documents of a file as they are read."""
    [source] = find_sources(path).sources
    return read_documents(source)


def test_d7_the_limit_of_csv_fields_is_the_application_s(tmp_path):
    """Long fields are read, and csv's limit for the whole process is what it was, between rows and on errors too."""
    import csv

    path = tmp_path / "long.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([n, "word " * 60_000] for n in range(3))])
    before = csv.field_size_limit(99_999)
    try:
        seen = []
        for document in streamed(path):
            assert csv.field_size_limit() == 99_999
            seen.append(len(document.text))
        assert seen == [300_000] * 3
        path.write_text('text\n"never closed\n', encoding="utf-8")
        assert len(list(streamed(path))) == 1
        assert csv.field_size_limit() == 99_999
        with pytest.raises(csv.Error, match="field larger"):
            list(csv.reader(["x" * 100_000]))
    finally:
        csv.field_size_limit(before)


def test_d7_threads_that_read_csv_at_once(tmp_path):
    """The last one puts the limit back."""
    import csv
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "long.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([n, "word " * 30_000] for n in range(20))])
    before = csv.field_size_limit()
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: len(list(streamed(path))), range(8)))
    assert counts == [20] * 8
    assert csv.field_size_limit() == before

"""What users' files broke, by the letters of the list: text lost or changed in silence, hangs, unclear messages."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
import subprocess
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sqlrag.text.decoding import _LIKELY, _remedy
from sqlrag.text.documents import Document, NoText, Unreadable, cleaned
from sqlrag.text.html import html_to_text
from sqlrag.text.kinds import kind_of
from sqlrag.text.loading import Choice, find_sources, read_documents
from sqlrag.text.markup import headings
from sqlrag.text.words import further_words, search_text


def read(path: Path, content: bytes | str | None = None, **choice) -> list[Document | NoText | Unreadable]:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [item for source in find_sources(path, Choice(**choice)).sources for item in read_documents(source)]


def text_of(body: str) -> str:
    return html_to_text(f"<!DOCTYPE html><title>T</title><body>{body}")[1]


def levels(text: str, kind: str = "") -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in headings(text, kind)]


def test_a1_numbers_that_do_not_read_back_stay_text(tmp_path):
    """Ids of 19 digits, versions and zeros keep every character; a column is a number if all its values are."""
    rows = "text,id_,version,year,big\na,1294030472427835393,3.10,2020,12345678901234567890\n"
    rows += "b,1542657904481796104,3.9,2021,1\n"
    first, second = read(tmp_path / "r.csv", rows)
    assert first.metadata == {
        "id_": 1294030472427835393, "version": "3.10", "year": 2020, "big": "12345678901234567890"
    }  # fmt: skip
    assert second.metadata == {"id_": 1542657904481796104, "version": "3.9", "year": 2021, "big": "1"}


def test_a1_numbers_of_parquet_and_json_stay_exact(tmp_path):
    """A number that 64 bits or a double cannot hold stays text; an ordinary one is a number."""
    import decimal

    table = pa.table(
        {
            "text": ["a", "b"],
            "large": pa.array([2**64 - 1, 1], pa.uint64()),
            "exact": pa.array(
                [decimal.Decimal("12345678901234567890.1234"), decimal.Decimal("1.5")], pa.decimal128(30, 4)
            ),
        }
    )
    parquet.write_table(table, tmp_path / "r.parquet")
    first, second = read(tmp_path / "r.parquet")
    assert first.metadata == {"large": str(2**64 - 1), "exact": "12345678901234567890.1234"}
    assert second.metadata == {"large": "1", "exact": 1.5}
    line = '{"text": "a", "n": 123456789012345678901234, "f": 0.1234567890123456789, "m": 1.50, "k": 7}\n'
    [document] = read(tmp_path / "r.jsonl", line)
    assert document.metadata == {"n": "123456789012345678901234", "f": "0.1234567890123456789", "m": 1.5, "k": 7}


def test_a2_cells_of_a_workbook_stand_as_in_the_sheet(tmp_path):
    """No NaN, no 1e+11, no midnight; a formula that was never computed stands as a formula."""
    openpyxl = pytest.importorskip("openpyxl", reason='needs the files extra: pip install "sqlrag[files]"')
    book = openpyxl.Workbook()
    for row in (["key", "value"], [None, 123456789012], ["NA", True], [dt.date(2024, 2, 29), "=A1+1"], [None, 0.5]):
        book.active.append(row)
    book.properties.title, book.properties.creator = "Prices", "Ann"
    book.save(tmp_path / "b.xlsx")
    [document] = read(tmp_path / "b.xlsx")
    assert document.title == "Prices"
    assert document.metadata["author"] == "Ann"
    assert document.text.splitlines()[2:] == [
        "| key | value |", "| --- | --- |", "|  | 123456789012 |", "| NA | TRUE |", "| 2024-02-29 | =A1+1 |",
        "|  | 0.5 |",
    ]  # fmt: skip


def test_b_all_main_parts_count_and_a_caption_does_not():
    """Several marked parts are joined; the body is read where they hold a small share of it."""
    article = "The ferry leaves at nine. " * 40
    assert "ferry" in text_of(f"<main>a short caption</main><div role=main><p>{article}</div>")
    assert "ferry" in text_of(f"<main>a short caption</main><article>{article}</article>")
    assert text_of("<div>menu</div><main><h1>Own</h1><p>The text.</main><footer>x</footer>") == "# Own\n\nThe text."


def test_c_what_there_is_for_readers_without_scripts_is_read_where_there_is_nothing_else():
    """<noscript> and <noframes> are the text of a page that has no other."""
    assert text_of("<noscript><p>Read me.</p></noscript>") == "Read me."
    assert text_of("<p>text</p><noscript>Enable scripts</noscript>") == "text"
    assert html_to_text("<frameset><frame src=a><noframes><p>Old page</noframes></frameset>")[1] == "Old page"


@pytest.mark.parametrize(
    ("name", "content", "uris"),
    [
        ("r.jsonl", '{"text": "a"}\n{"text": null}\n{"id": 7}\n', ["r.jsonl#2", "r.jsonl#3"]),
        ("r.json", '[{"text": "has"}, {"body": "another column"}]', ["r.json#2"]),
        ("r.csv", "id,text\n", ["r.csv"]),
        ("e.jsonl", "\n", ["e.jsonl"]),
    ],
)
def test_c_rows_and_files_without_text_are_named(tmp_path, name, content, uris):
    """A row whose text is NULL or in another column, a file without rows: they are no documents, and not silent."""
    items = read(tmp_path / name, content)
    assert [item.uri.rpartition("/")[2] for item in items if isinstance(item, NoText)] == uris


@pytest.mark.parametrize(
    "formula",
    [
        "<math><semantics><mi>E</mi><annotation encoding='application/x-tex'>E=mc^2</annotation></semantics></math>",
        "<math alttext='E=mc^2'><mi>E</mi></math>",
        "<span class=katex><span class=katex-mathml><math><semantics><mi>E</mi><annotation encoding="
        "'application/x-tex'>E=mc^2</annotation></semantics></math></span>"
        "<span class=katex-html aria-hidden=true>E=mc2</span></span>",
        "<span class=MathJax_Preview>E=mc2</span><script type='math/tex'>E=mc^2</script>",
        "<span style='display: none'><math alttext='{\\displaystyle E=mc^2}'></math></span>",
    ],
)
def test_d1_formulas_are_tex_once(formula):
    """The annotation or alttext, whichever way a page has it."""
    assert " ".join(text_of(f"<p>The energy is {formula}, where").split()).replace(" ,", ",") == (
        "The energy is E=mc^2, where"
    )


def test_d1_a_formula_without_tex_keeps_its_characters():
    """Once: annotations in other languages than TeX say the same."""
    other = "<annotation encoding='StarMath 5.0'>a over b</annotation><annotation-xml><apply><ci>a</ci></apply>"
    formula = f"<math><semantics><mrow><mi>a</mi><mo>/</mo><mi>b</mi></mrow>{other}</annotation-xml></semantics></math>"
    assert text_of(f"<p>is {formula}.") == "is a / b."
    assert text_of("<p>is <math><mi>E</mi><mo>=</mo><mi>m</mi></math>.") == "is E = m."


def test_d2_code_has_the_lines_that_are_shown():
    """<br> and blocks end lines; buttons and line numbers are not code."""
    assert text_of("<pre>a<br>b<div>c</div></pre>") == "```\na\nb\nc\n```"
    page = "<pre><button>Copy</button><span class=lineno>1 </span>x = 1\n<span class=lineno>2 </span>y = 2</pre>"
    assert text_of(page) == "```\nx = 1\ny = 2\n```"
    assert text_of("<pre class='line-numbers copyable'><code>x = 1</code></pre>") == "```\nx = 1\n```"
    page = "<pre><span style='user-select: none'>1 </span>x<div class='btn-clipboard copybtn2'>Copy</div></pre>"
    assert text_of(page) == "```\nx\n```"
    listing = "<table><tr><td class=linenos><pre>1\n2</pre></td><td class=code><pre>x\ny</pre></td></tr></table>"
    assert text_of(listing) == "```\nx\ny\n```"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<ol start=5><li>a<li value=9>b<li>c</ol>", "5. a\n9. b\n10. c"),
        ("10<sup>6</sup> x<sub>2</sub> 10<sup>-3</sup> 1<sup>st</sup>", "10^6 x_2 10^-3 1st"),
        ("<table><tr><th><th>A<tr><td>r<td>1</table>", "| A\nr | 1"),
        ("<table><tr><td>k<td><p>a</p><p>b</p><tr><td>l<td>c<br>d<ul><li>e</ul></table>", "k | a b\nl | c d e"),
        ("<table><tr><td rowspan=2>r<td>1<tr><td>2</table>", "r | 1\nr | 2"),
        ("<table><tr><td colspan=2>wide<td>z<tr><td>1<td>2<td>3</table>", "wide |  | z\n1 | 2 | 3"),
    ],
)
def test_d3_lists_powers_and_tables(body, text):
    """Numbers, powers and columns are those of the page; a row is one line."""
    assert text_of(body) == text


def test_d4_what_is_hidden_is_left_out():
    page = "<p hidden>no</p><p style='color: red; display:none'>no</p><p hidden=until-found>found</p>yes"
    assert text_of(page) == "found\n\nyes"


def test_e_a_quote_that_is_not_closed_costs_one_row(tmp_path):
    """The range is named, and the lines behind the bad one are read."""
    lines = ["id,text", *(f'{number},"text {number}"' for number in range(300))]
    lines[12] = '11,"never closed'
    items = read(tmp_path / "r.csv", "\n".join(lines) + "\n")
    bad = [item for item in items if isinstance(item, Unreadable)]
    assert len(items) - len(bad) == 299
    assert len(bad) == 1
    assert bad[0].reason.startswith("lines 13 to 14 are not CSV")
    assert bad[0].rows == 1


def test_e_many_such_quotes_take_no_longer(tmp_path):
    """Each is looked for within bounds: with a search to the end of the file for each, this would take hours."""
    items = read(tmp_path / "r.csv", "text\n" + 'a\n"b\n' * 20_000)
    assert sum(isinstance(item, Document) for item in items) >= 20_000


def test_f_a_nul_is_replaced_wherever_it_comes_from():
    """One gate for title, text and metadata; the replacement is as long."""
    document = cleaned(Document("u", "a\0", "b\0c", {"k\0": ["\0", {"x": "y\0"}], "n": 1}, "h"))
    assert (document.title, document.text) == ("a\ufffd", "b\ufffdc")
    assert document.metadata == {"k\ufffd": ["\ufffd", {"x": "y\ufffd"}], "n": 1}
    same = Document("u", "a", "b", {"k": ["v"]}, "h")
    assert cleaned(same) is same


def test_g_what_is_indexed_and_asked_is_made_equal():
    """Ligatures, soft hyphens, full-width letters, zero-width spaces, words broken at a line's end."""
    assert search_text("o\ufb03ce Ge\u00adsamt\u200bkonzept \uff33\uff31\uff2c") == "office Gesamtkonzept SQL"
    assert further_words("the o\ufb03ce") == "office"
    assert further_words("a con-\ncept of re-\n  use") == "concept reuse"
    assert further_words("plain text, well-known") == ""


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<?xml version='1.0' encoding='iso-8859-1'?><p>caf\u00e9".encode("latin-1"), "café"),
        (b"<!-- " + b"x" * 3000 + b" --><meta charset=windows-1252><p>caf\xe9", "café"),
        ("<meta charset=x-sjis><p>\u65e5\u672c".encode("cp932"), "日本"),
        ("<meta charset=iso-8859-1><p>caf\u00e9".encode(), "café"),
        (
            b"<meta charset=utf-8><p>" + "gr\u00f6\u00dfer ".encode() * 200 + b"\xff",
            ("größer " * 200 + "\ufffd").strip(),
        ),
    ],
)
def test_h_charsets_are_read_as_browsers_do(tmp_path, page, text):
    """In an XML declaration, behind byte 1024, by any label; UTF-8 is UTF-8; a stray byte costs itself."""
    [document] = read(tmp_path / "a.html", page)
    assert document.text == text


def test_i_front_matter_gives_title_and_metadata(tmp_path):
    """Then the first heading of level 1, then the file's name; a comment in YAML is not a heading."""
    text = (
        "---\ntitle: Ferry times\ntags:\n  - go\nversion: 3.10\nweight: 5\ndraft: false\n# a comment\n---\n\n## Usage\n"
    )
    [document] = read(tmp_path / "a.md", text)
    assert document.title == "Ferry times"
    assert document.text == text
    assert [document.metadata[name] for name in ("tags", "version", "weight", "draft")] == [["go"], "3.10", 5, False]
    assert read(tmp_path / "b.md", "---\ntags: [x]\n---\n## Usage\n\n# Ferries\n")[0].title == "Ferries"
    assert read(tmp_path / "c.md", "## Usage\n\ntext\n")[0].title == "c.md"
    assert read(tmp_path / "d.md", "---\na: &a [x]\nb: *a\n---\n# T\n")[0].metadata.keys() == {
        "path", "name", "folder", "type"
    }  # fmt: skip


def test_l_nested_lists_cost_one_row(tmp_path):
    """Nine hundred lists in one another are named, and the other rows are read."""
    rows = '{"text": "a", "n": ' + "[" * 900 + "]" * 900 + '}\n{"text": "b"}\n'
    bad, good = read(tmp_path / "r.jsonl", rows)
    assert bad.reason == "row 1 has lists or objects nested more than 100 deep"
    assert good.text == "b"


def test_l_a_file_to_which_another_program_appends(tmp_path, monkeypatch):
    """A row that came between the two readings is named if it is no number where all others are."""
    path = tmp_path / "r.csv"
    path.write_text("text,n\na,1\n")
    [source] = find_sources(path).sources
    documents = read_documents(source)
    monkeypatch.setattr("sqlrag.text.row_files.number_columns", lambda records, _header: [*records] and {"n"})
    with path.open("a") as file:
        file.write("b,x\nc,3\n")
    items = list(documents)
    assert [item.text for item in items if isinstance(item, Document)] == ["a", "c"]
    assert [item.reason.split(",")[0] for item in items if isinstance(item, Unreadable)] == [
        "row 2 has 'x' in column 'n'"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# a" + " " * 200_000 + "b", "=" * 200_000, "- " * 100_000, "`" * 200_000, "a|" * 100_000, "|\n" * 100_000,
        "1. " * 70_000 + "```", "a\n=\n" * 50_000, "# " * 100_000, "def " * 50_000, "a " * 100_000 + "(",
        "\\section{" * 20_000, "~~~\n" * 50_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["md", "rst", "py", "tex"])
def test_n_no_heading_takes_more_than_a_look(text, kind):
    """Every pattern that reads a user's text is linear: with a quadratic one, this would not end."""
    assert all(0 <= found.start <= found.end <= len(text) for found in headings(text, kind))


@pytest.mark.parametrize("tag", ["div", "span", "b", "ul><li", "blockquote"])
def test_n_pages_that_nest_without_end_are_refused(tmp_path, tag):
    """A parser looks at each open element; with a hundred thousand of them that takes minutes."""
    opened = f"<{tag}>" * 100_000
    [refused] = read(tmp_path / "d.html", f"{opened}deep{'</div>' * 100_000}")
    assert refused.reason == "has elements nested more than 10,000 deep"
    assert read(tmp_path / "f.html", f"{f'<{tag}>a</{tag}>' * 30_000}")[0].text.count("a") == 30_000


def test_o_the_user_says_the_encoding(tmp_path):
    """The error proposes an encoding, and the encoding that it proposes works."""
    text = "Grüße aus Zürich, schöne Häuser, größer und kälter. " * 3
    [refused] = read(tmp_path / "a.txt", text.encode("cp1252"))
    assert "--encoding cp1252" in refused.reason
    assert "iconv -f CP1252 -t UTF-8" in refused.reason
    assert read(tmp_path / "a.txt", encoding="cp1252")[0].text == text
    japanese = "日本語の文章です。東京は日本の首都であり、世界最大の都市の一つです。" * 5
    [refused] = read(tmp_path / "b.txt", japanese.encode("cp932"))
    assert "--encoding cp932" in refused.reason
    assert read(tmp_path / "b.txt", encoding="shift_jis")[0].text == japanese
    [refused] = read(tmp_path / "c.txt", text.encode("utf-16-le"))
    assert "--encoding utf-16-le" in refused.reason
    assert read(tmp_path / "c.txt", encoding="utf-16-le")[0].text == text


def test_o_two_bytes_a_character_and_stray_bytes(tmp_path):
    """Pages and rows of UTF-16 without a mark are no UTF-8 with NULs. Of nearly UTF-8 the stray bytes are named."""
    page = "<p>wide page</p>".encode("utf-16-le")
    rows = "text,n\nferry,1\n".encode("utf-16-be")
    for name, content, encoding in (("p.html", page, "utf-16-le"), ("r.csv", rows, "utf-16-be")):
        [refused] = read(tmp_path / name, content)
        assert f"may be {encoding}; ingest it with its encoding, e.g. --encoding {encoding}" in refused.reason
        assert read(tmp_path / name, encoding=encoding)[0].text in ("wide page", "ferry")
    assert read(tmp_path / "m.csv", "text\nferry\n".encode("utf-16"))[0].text == "ferry"
    [refused] = read(tmp_path / "n.txt", "größer, schöner ".encode() * 9 + b"\xff")
    assert refused.reason.endswith("although most of it is; to leave such bytes out: iconv -c -f UTF-8 -t UTF-8")


@pytest.mark.skipif(shutil.which("iconv") is None, reason="there is no iconv")
@pytest.mark.parametrize("encoding", [*_LIKELY[1:], "utf-16-le", "utf-16-be"])
def test_o_iconv_knows_what_is_advised(encoding):
    """The command in the message runs."""
    name = _remedy(encoding).rpartition(" -f ")[2].partition(" ")[0]
    subprocess.run(["iconv", "-f", name, "-t", "UTF-8"], input=b"", check=True)


def test_p_all_good_rows_are_read(tmp_path):
    """Forty bad rows of four thousand cost forty rows; the first are named and the others counted, as rows."""
    rows = ["no json" if number % 100 == 0 else json.dumps({"text": str(number)}) for number in range(4000)]
    items = read(tmp_path / "r.jsonl", "\n".join(rows))
    bad = [item for item in items if isinstance(item, Unreadable)]
    assert len(items) - len(bad) == 3960
    assert (len(bad), sum(item.rows for item in bad)) == (21, 40)


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("# a\n\n ```npm install```\n\n# b\n", "md", [(1, "a"), (1, "b")]),
        ("````\n```\n# no\n```\n````\n# yes\n", "md", [(1, "yes")]),
        ("~~~ sh\n# no\n```\n# no\n~~~\n# yes\n", "md", [(1, "yes")]),
        ("Title\n=====\n\ntext\n\nPart\n---\n", "md", [(1, "Title"), (2, "Part")]),
        ("1. ```sh\n   # no\n   ```\n\n# yes\n", "md", [(1, "yes")]),
        ("- item\n\n    ```\n    # no\n# no\n    ```\n# yes\n", "md", [(1, "yes")]),
        ("a | b\n--- | ---\n1 | 2\n\ntext\n\n---\n\n# yes #\n", "md", [(1, "yes")]),
        ("===\nDoc\n===\n\nPart\n====\n\nDeep\n~~~~\n", "rst", [(1, "Doc"), (2, "Part"), (3, "Deep")]),
        ("= T\n\n== S\n----\n== no\n----\n", "adoc", [(1, "T"), (2, "S")]),
        ("* A\n#+BEGIN_SRC\n* no\n#+END_SRC\n** B\n", "org", [(1, "A"), (2, "B")]),
        ("\\section{A {b}}\n\\subsection*{C}\n", "tex", [(3, "A {b}"), (4, "C")]),
        ("# no heading\nx: 1\n", "yaml", []),
        ("# c\n@d\ndef f(a):\n  pass\nclass K:\n    def m(s):\n", "py", [(1, "def f"), (1, "class K"), (2, "def m")]),
    ],
)  # fmt: skip
def test_q_headings_are_those_of_the_markup(text, kind, found):
    """Fences and underlines by CommonMark's rules, titles of other markup, functions of code."""
    assert levels(text, kind) == found


def test_r_nanoseconds_inside_structs_and_lists(tmp_path):
    """They are read, to the microsecond that Python has."""
    stamp = pa.timestamp("ns")
    moment = 1_709_209_800_123_456_789
    table = pa.table(
        {
            "text": ["a"],
            "s": pa.array([{"at": moment}], pa.struct([("at", stamp)])),
            "l": pa.array([[moment]], pa.list_(stamp)),
            "d": pa.array([1_500], pa.duration("ns")),
        }
    )
    parquet.write_table(table, tmp_path / "r.parquet")
    [document] = read(tmp_path / "r.parquet")
    at = "2024-02-29T12:30:00.123456"
    assert document.metadata == {"s": {"at": at}, "l": [at], "d": 1e-06}


def test_v_folders_of_tools_and_links_out_of_the_folder_are_left_out(tmp_path):
    """They are named; a pattern, or naming them outright, reads them."""
    for name in ("docs/a.md", "docs/node_modules/b.md", "docs/env/pyvenv.cfg", "docs/env/c.txt", "secret.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    docs = tmp_path / "docs"
    (docs / "up").symlink_to("..")
    (docs / "out.md").symlink_to("../secret.md")
    found = find_sources(docs)
    assert [source.path.name for source in found.sources] == ["a.md"]
    assert [uri.rsplit("/docs/")[1] for uri in found.ignored] == ["env/", "node_modules/"]
    assert {Path(item.uri).name for item in found.unreadable} == {"up", "out.md"}
    found = find_sources(docs, Choice(include=["/node_modules/*.md"]))
    assert [source.path.name for source in found.sources] == ["b.md"]
    assert "c.txt" in [source.path.name for source in find_sources(docs / "env").sources]


def test_v_patterns_and_gitignore(tmp_path):
    """A deeper .gitignore has the last word, --exclude leaves out, --include reads any kind as text."""
    for name in ("a.md", "b.log", "sub/c.log", "sub/keep.log", "d.foo", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.log\n# comment\n")
    (tmp_path / "sub/.gitignore").write_text("!keep.log\n")

    def names(**choice) -> list[str]:
        found = find_sources(tmp_path, Choice(**choice))
        return [source.path.relative_to(tmp_path).as_posix() for source in found.sources]

    assert names() == ["a.md", "e.txt", "sub/keep.log"]
    assert names(gitignored=True) == ["a.md", "b.log", "e.txt", "sub/c.log", "sub/keep.log"]
    assert names(exclude=["*.txt", "/sub/"]) == ["a.md"]
    assert names(include=["*.foo"]) == ["d.foo"]
    assert [item.text for item in read(tmp_path, include=["*.foo"])] == ["x"]


def test_v_data_of_images_is_not_text(tmp_path):
    """An image of 150 kB in an address leaves its type."""
    [document] = read(tmp_path / "a.md", f"# T\n\n![chart](data:image/png;base64,{'iVBORw0KGgo' * 15_000})\n\nend\n")
    assert document.text == "# T\n\n![chart](data:image/png;base64,)\n\nend\n"


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("text;n\na;1\n", ("a", {"n": 1})),
        ("text\tn\na\t1\n", ("a", {"n": 1})),
        ('sep=;\r\ntext;n\r\n"a,b";1\r\n', ("a,b", {"n": 1})),
        ("text|n\na|1\n", ("a", {"n": 1})),
        ('"text","n"\n"a;b;c;d",1\n', ("a;b;c;d", {"n": 1})),
    ],
)
def test_v_other_delimiters(tmp_path, content, values):
    """A semicolon, a tab, a bar, or what `sep=` says."""
    [document] = read(tmp_path / "r.csv", content)
    assert (document.text, document.metadata) == values


def test_kinds_of_files(tmp_path):
    """Each kind that people expect is read, with its title; gzip does not matter."""
    for name in ("README", "LICENSE.gz", "CHANGELOG", "Makefile", "README.Debian", "a.mdx", "a.qmd", "a.adoc", "a.org"):
        assert kind_of(name), name
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Model\n", "text"]},
            {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        ],
        "metadata": {"kernelspec": {"language": "python"}},
    }
    [made] = read(tmp_path / "n.ipynb", json.dumps(notebook))
    assert (made.title, made.text) == ("Model", "# Model\ntext\n\n```python\nprint(1)\n```\n\n```\n1\n```")
    [made] = read(tmp_path / "a.json", '{"title": "Set", "n": 3.10, "deep": [{"a": "\\u00e9"}]}')
    assert (made.title, made.text) == ("Set", "title: Set\nn: 3.10\ndeep:\n  -\n    a: é")
    assert [item.text for item in read(tmp_path / "b.json", '[{"text": "x"}, {"text": "y"}]')] == ["x", "y"]
    [made] = read(
        tmp_path / "a.srt", "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nyou\n"
    )
    assert made.text == "Hello\nyou"
    feed = "<rss><channel><title>News</title><item><title>One</title><description>&lt;p&gt;A &lt;b&gt;b&lt;/b&gt;"
    [made] = read(tmp_path / "f.rss", feed + "</description></item></channel></rss>")
    assert (made.title, made.text) == ("News", "## One\n\nA b")
    [made] = read(tmp_path / "x.xml", "<book><title>T</title><p>a <i>b</i> c</p></book>")
    assert (made.title, made.text.split()) == ("T", ["##", "T", "a", "b", "c"])
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.org", "Ferry"
    message.set_content("It leaves at nine.")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="plan.pdf")
    [made] = read(tmp_path / "m.eml", bytes(message))
    assert (made.title, made.metadata["from"], made.metadata["attached"]) == ("Ferry", "ann@example.org", ["plan.pdf"])
    assert made.text.endswith("It leaves at nine.")
    box = b"".join(b"From a\n" + bytes(message) + b"\n" for _ in range(2))
    assert [item.title for item in read(tmp_path / "m.mbox", box)] == ["Ferry", "Ferry"]
    archive = b"MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<title>Saved</title><p>page"
    assert read(tmp_path / "p.mhtml", archive)[0].title == "Saved"
    assert (
        read(tmp_path / "p.xhtml", "<html><head><title>X</title></head><body><p>page</p></body></html>")[0].title == "X"
    )
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"# Packed\n"))
    assert read(tmp_path / "a.md.gz")[0].title == "Packed"
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.writestr("sub/a.md", "# Inside\n")
        file.writestr("r.csv", "text,n\nrow,1\n")
        file.writestr("x.bin", b"\0")
    documents, named = read(tmp_path / "z.zip")[:2], read(tmp_path / "z.zip")[2]
    assert [(item.uri.rpartition("z.zip#")[2], item.text) for item in documents] == [
        ("sub/a.md", "# Inside\n"), ("r.csv#1", "row")
    ]  # fmt: skip
    assert "x.bin" in named.reason


def test_notebooks_say_all_that_they_show(tmp_path):
    """Errors, tables that are only pages, and the form before 2015."""
    outputs = [
        {"output_type": "error", "ename": "ValueError", "evalue": "no ferry", "traceback": ["..."]},
        {"output_type": "display_data", "data": {"text/html": "<table><tr><td>nine</table>"}},
    ]
    [made] = read(tmp_path / "n.ipynb", json.dumps({"cells": [{"cell_type": "code", "outputs": outputs}]}))
    assert made.text == "```\nValueError: no ferry\n```\n\n```\nnine\n```"
    cells = [{"cell_type": "heading", "level": 2, "source": "H"}, {"cell_type": "code", "input": ["x = 1"]}]
    [made] = read(tmp_path / "o.ipynb", json.dumps({"worksheets": [{"cells": cells}]}))
    assert made.text == "## H\n\n```\nx = 1\n```"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<d>lead <b>bold</b>ly<p>one</p>between<p>two</p></d>", "lead boldly one between two"),
        ("<d><para>H<sub>2</sub>O<itemizedlist><listitem>a</listitem></itemizedlist>b</para></d>", "H2O a b"),
        ("<d><!-- no --><p>a<!-- no -->b</p></d>", "ab"),
        ('<d><item xml:id="i" name="Kettle" price="40"/></d>', "item: Kettle, 40"),
        ("<rss><channel><title>T</title><description>About</description></channel></rss>", "About"),
        (
            '<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>E</title><content type="xhtml">'
            '<div xmlns="http://www.w3.org/1999/xhtml"><p>one</p><p>two</p></div></content></entry></feed>',
            "## E\n\none\n\ntwo",
        ),
    ],
)
def test_xml_keeps_its_words(tmp_path, markup, text):
    """Words of neighbouring elements do not run together, and what stands in attributes alone is there."""
    [made] = read(tmp_path / "a.xml", markup)
    assert made.text == text


def parts(*bodies: str) -> bytes:
    inner = "".join(f"--X\n{body}\n" for body in bodies)
    return f"From: a@b\nSubject: S\nContent-Type: multipart/mixed; boundary=X\n\n{inner}--X--\n".encode()


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (parts("Content-Type: text/plain\n\none", "Content-Type: text/plain\n\ntwo"), "one\n\ntwo"),
        (
            parts("\none", "Content-Type: message/rfc822\n\nFrom: c@d\nSubject: F\n\ninner"),
            "one\n\nFrom: c@d\nSubject: F\n\ninner",
        ),
        (
            parts(
                "Content-Type: multipart/alternative; boundary=Y\n\n--Y\nContent-Type: text/plain\n\nplain\n"
                "--Y\nContent-Type: text/html\n\n<p>html\n--Y--"
            ),
            "\n\nplain",
        ),
        (parts("Content-Type: text/x-diff\nContent-Disposition: inline; filename=a.diff\n\n-a"), "\n\n-a"),
        (b"From: a@b\nContent-Type: text/plain; charset=klingon\n\ncaf\xe9", "café"),
        ("From: a@b\nContent-Type: text/plain; charset=us-ascii\n\ncafé".encode(), "café"),
    ],
)
def test_a_message_is_read_in_all_its_parts(tmp_path, message, end):
    """Text behind an attachment, forwarded messages, patches; of two versions one; whatever its charset says."""
    [made] = read(tmp_path / "m.eml", message)
    assert made.text.endswith(end)
    assert "html" not in made.text
    [made] = read(tmp_path / "h.eml", "Subject: Fähre\nFrom: a@b\n\nx".encode())
    assert made.title == "Fähre"


def test_members_of_archives_with_odd_names(tmp_path):
    """A path that leads out of the archive is a name like another, since nothing is unpacked."""
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        for name in ("../up.txt", "/abs.txt", ".hidden.txt"):
            file.writestr(name, name)
    assert sorted(item.text for item in read(tmp_path / "z.zip")) == ["../up.txt", "/abs.txt"]


def test_rtf(tmp_path):
    """A text of a word processor, without a word processor."""
    pytest.importorskip("striprtf", reason='needs the files extra: pip install "sqlrag[files]"')
    assert read(tmp_path / "a.rtf", rb"{\rtf1 The ferry \'e9.\par}")[0].text.strip() == "The ferry é."

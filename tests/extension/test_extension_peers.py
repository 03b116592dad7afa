"""Servers that lie, are slow or dead: the extension gives a clear error, and neither crashes nor leaks.

It is built with AddressSanitizer and UndefinedBehaviorSanitizer, and its times are a tenth of the protocol's.
"""

from __future__ import annotations

import os
import random
import re
import struct
import time

import apsw
import pytest

from sqlrag.serve.model_server.protocol import Frame, as_row, as_table, read_row

NOT_ITS_PROTOCOL = "sent something that its protocol does not have"
NO_ANSWER = "does not answer"
ENDED = "ended before it had answered"


def after_call(act):
    """Return a script that does something when the first CALL has come."""

    def script(line):
        line.welcome()
        line.call()
        act(line)
        line.take()  # until the extension hangs up

    return script


def frame(kind, body):
    return after_call(lambda line: line.send(kind, body))


def raw(data):
    return after_call(lambda line: line.raw(data))


def hello(kind, body):
    def script(line):
        line.take()
        line.send(kind, body)
        line.take()

    return script


def silent(line):
    line.take()
    line.take()


def forever(act):
    def repeat(line):
        while True:
            act(line)

    return after_call(repeat)


def gone_in_the_middle(line):
    line.welcome()
    line.call()
    line.raw(struct.pack("<IBHI", 1000, Frame.RESULT, 1, 1))


LIES = {
    "a welcome of another type": (hello(Frame.RESULT, b""), NOT_ITS_PROTOCOL),
    "a welcome without a body": (hello(Frame.WELCOME, b""), NOT_ITS_PROTOCOL),
    "a welcome that ends early": (hello(Frame.WELCOME, as_row([1, "0", 1])), NOT_ITS_PROTOCOL),
    "a welcome of wrong types": (hello(Frame.WELCOME, as_row(["1", 0, "1", 0])), NOT_ITS_PROTOCOL),
    "another version": (hello(Frame.WELCOME, as_row([2, "9", 1, "x", 5])), "speaks version 2 of its protocol"),
    "an error for a welcome": (hello(Frame.ERROR, as_row(["ServerError", "64 clients are here"])), "64 clients"),
    "an error that is none": (frame(Frame.ERROR, as_row(["InputError"])), NOT_ITS_PROTOCOL),
    "an error of numbers": (frame(Frame.ERROR, as_row([1, 2])), NOT_ITS_PROTOCOL),
    "no length": (raw(struct.pack("<IB", 0, 11)), NOT_ITS_PROTOCOL),
    "the greatest length": (raw(struct.pack("<IB", 0xFFFFFFFF, 11)), NOT_ITS_PROTOCOL),
    "64 MiB that do not come": (raw(struct.pack("<IB", 64 << 20, 11)), NO_ANSWER),
    "an unknown type": (frame(77, b""), NOT_ITS_PROTOCOL),
    "a client's type": (frame(Frame.CALL, b""), NOT_ITS_PROTOCOL),
    "a second welcome": (frame(Frame.WELCOME, as_row([1, "0", 1, "x"])), NOT_ITS_PROTOCOL),
    "a result without a body": (frame(Frame.RESULT, b""), NOT_ITS_PROTOCOL),
    "a result with a bad tag": (frame(Frame.RESULT, struct.pack("<HIB", 1, 1, 9)), NOT_ITS_PROTOCOL),
    "a result that ends early": (frame(Frame.RESULT, struct.pack("<HIBI", 1, 1, 3, 100) + b"x"), NOT_ITS_PROTOCOL),
    "a text of 4 GiB": (frame(Frame.RESULT, struct.pack("<HIBI", 1, 1, 3, 0xFFFFFFFF)), NOT_ITS_PROTOCOL),
    "the largest table": (frame(Frame.RESULT, struct.pack("<HI", 0xFFFF, 0xFFFFFFFF)), NOT_ITS_PROTOCOL),
    "rows without columns": (frame(Frame.RESULT, struct.pack("<HI", 0, 0xFFFFFFFF)), NOT_ITS_PROTOCOL),
    "bytes after the table": (frame(Frame.RESULT, as_table(1, [(1,)]) + b"\0"), NOT_ITS_PROTOCOL),
    "two columns for a scalar": (frame(Frame.RESULT, as_table(2, [(1, 2)])), "answered embed() with a table"),
    "no row for a scalar": (frame(Frame.RESULT, as_table(1, [])), "answered embed() with a table"),
    "a query without SQL": (frame(Frame.QUERY, as_row([])), NOT_ITS_PROTOCOL),
    "a query of a number": (frame(Frame.QUERY, as_row([1, 0])), NOT_ITS_PROTOCOL),
    "fewer bindings than said": (frame(Frame.QUERY, as_row(["SELECT 1", 1 << 60])), NOT_ITS_PROTOCOL),
    "a binding named by a number": (frame(Frame.QUERY, as_row(["SELECT ?", 1, 1, 1])), NOT_ITS_PROTOCOL),
    "queries without end": (forever(lambda line: line.query("SELECT 1")), NOT_ITS_PROTOCOL),
    "work without end": (forever(lambda line: line.send(Frame.WORKING)), NO_ANSWER),
    "silence": (silent, NO_ANSWER),
    "silence after a call": (after_call(lambda line: None), NO_ANSWER),
    "an end at once": (lambda line: None, ENDED),
    "an end after the welcome": (lambda line: line.welcome(), ENDED),
    "an end in the middle": (gone_in_the_middle, ENDED),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_clear_error(checked, lie):
    """Whatever the server does, the statement ends with an error that says what is wrong, and the next one runs."""
    script, words = LIES[lie]
    checked.says(script)
    done = checked.run("SELECT embed('a text');", "SELECT 'still ' || 'here';")
    assert words in done.stderr, done.stderr
    assert done.stdout == "still here\n"


def test_a_table_of_other_columns(checked):
    """A table function whose rows have another shape is an error, not a read beyond them."""
    checked.says(frame(Frame.RESULT, as_table(2, [(1, 2)])))
    assert "gives sqlrag_info() 2 columns instead of 23" in checked.run("SELECT * FROM sqlrag_info();").stderr


WRITING = [
    "INSERT INTO t VALUES (2)",
    "DELETE FROM t",
    "DELETE FROM t RETURNING x",
    "CREATE TABLE u (x)",
    "DROP TABLE t",
    "ATTACH 'other.db' AS other",
    "BEGIN",
    "PRAGMA user_version = 7",
    "SELECT 1; DELETE FROM t",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("sql", WRITING)
def test_a_server_can_only_read(checked, tmp_path, sql):
    """A statement of the server's that is more than one query is refused, and nothing has changed."""
    answers = []

    def script(line):
        line.welcome()
        line.call()
        answers.append(line.query(sql))
        line.result("done")

    checked.says(script)
    database = tmp_path / "t.db"
    done = checked.run(
        "CREATE TABLE t (x); INSERT INTO t VALUES (1);",
        "SELECT embed('a');",
        "SELECT count(*), (SELECT count(*) FROM sqlite_schema) FROM t; PRAGMA user_version;",
        database=str(database),
    )
    ((kind, body),) = answers
    assert kind == Frame.FAILED
    code, message = read_row(body)
    assert (code, message) == (23, "the server may run one query that reads, and nothing else")
    assert done.stdout == "done\n1|1\n0\n"


def test_the_statements_of_a_frame(checked):
    """A trailing semicolon and comments are no second statement; parameters go by place or by name."""
    answers = []
    queries = [
        ("SELECT 1; -- the end\n", ()),
        ("SELECT ?, ?2", (None, 1, None, "two")),
        ("SELECT :a, @b, $c, :a", ("a", 1.5, "b", b"\0b", "c", None, "not there", 1)),
        ("SELECT 1 WHERE 0", ()),
        ("SELECT * FROM nowhere", ()),
        ("SELECT ?", (None, 1, None, 2)),
        ("SELECT zeroblob(70000000)", ()),
        ("SELECT '', x'', NULL, -1, 9223372036854775807", ()),
    ]

    def script(line):
        line.welcome()
        line.call()
        answers.extend(line.query(sql, *bindings) for sql, bindings in queries)
        line.result(None)

    checked.says(script)
    checked.run("SELECT embed('a');")
    assert answers[:4] == [
        (Frame.ROWS, as_table(1, [(1,)])),
        (Frame.ROWS, as_table(2, [(1, "two")])),
        (Frame.ROWS, as_table(4, [(1.5, b"\0b", None, 1.5)])),
        (Frame.ROWS, as_table(1, [])),
    ]
    failed = [read_row(body) for kind, body in answers[4:7] if kind == Frame.FAILED]
    assert [code for code, _ in failed] == [1, 25, 18]
    assert failed[0][1] == "no such table: nowhere"
    assert answers[7] == (Frame.ROWS, as_table(5, [("", b"", None, -1, 9223372036854775807)]))


def test_the_functions_inside_of_a_query(checked):
    """A query may call our functions, which is a call again; without end it is an error."""

    def script(line):
        line.welcome()
        while True:
            line.call()
            answers.append(line.query("SELECT embed('deeper')"))
            line.result("up")

    answers = []
    checked.says(script)
    done = checked.run("SELECT embed('a');")
    assert done.stdout == "up\n", done.stderr
    assert [kind for kind, _ in answers] == [Frame.FAILED, Frame.ROWS]
    assert "too deeply" in read_row(answers[0][1])[1]


def test_a_server_that_does_not_read(checked):
    """An argument that nobody takes is given up after a while."""

    def script(line):
        line.welcome()
        line.connection.recv(10)
        time.sleep(5)

    checked.says(script)
    assert NO_ANSWER in checked.run("SELECT embed(hex(zeroblob(8000000)));").stderr


def test_any_value_comes_through(checked):
    """Text with NUL or broken UTF-8, empty text and BLOB, the ends of the numbers: as sent."""
    values = ["", "a\0b", "🐝", b"", b"\0\xff", -(1 << 63), (1 << 63) - 1, 1.5, None]

    def script(line):
        line.welcome()
        for value in values:
            line.call()
            line.result(value)
        line.call()
        line.send(Frame.RESULT, struct.pack("<HIBI", 1, 1, 3, 2) + b"\xff\xfe")

    checked.says(script)
    # OFFSET keeps SQLite from putting the call in both places.
    shown = "SELECT hex(v), typeof(v) FROM (SELECT embed('x') AS v LIMIT 1 OFFSET 0);"
    done = checked.run(*[shown] * (len(values) + 1))
    plain = apsw.Connection(":memory:")
    wanted = ["|".join(row) for value in values for row in plain.execute("SELECT hex(?1), typeof(?1)", (value,))]
    assert done.stdout.splitlines() == [*wanted, "FFFE|text"]


def test_what_is_sent(checked):
    """Arguments arrive with their types; those that were left out are NULL for a table function."""
    bodies = []

    def script(line):
        line.welcome()
        while True:
            bodies.append(read_row(line.call()))
            line.send(Frame.RESULT, as_table(1, [(1,)]) if bodies[-1][0] == "embed" else as_table(3, []))

    checked.says(script)
    given = "k = 7 AND \"index\" = 'b' AND candidates = 7 AND query IS NOT NULL AND query = 'q'"
    checked.run(
        "SELECT embed('🐝'), embed(1, 2.5), embed(x'00ff', NULL);",
        "SELECT * FROM vector_top_k('a', 1, 2);",
        f"SELECT * FROM vector_top_k WHERE {given};",
    )
    assert bodies == [
        ["embed", "🐝"], ["embed", 1, 2.5], ["embed", b"\0\xff", None],
        ["vector_top_k", "a", 1, 2, None, None, None, None],
        ["vector_top_k", "b", "q", 7, None, 7, None, None],
    ]  # fmt: skip


def test_statements_begin(checked):
    """BEGIN comes before the first call of each statement of the user's, whatever its arguments, and only there."""

    def script(line):
        line.welcome()
        while True:
            kind, body = line.take()
            if kind == Frame.CALL:
                scalar = read_row(body)[0] == "rerank_score"
                line.send(Frame.RESULT, as_table(1, [(0.5,)]) if scalar else as_table(3, [(1, 0.1, 1), (2, 0.2, 2)]))

    peer = checked.says(script)
    done = checked.run(
        "WITH t (q, x) AS (VALUES ('a', 'b'), ('c', 'd'), ('e', 'f')) SELECT rerank_score(q, x) FROM t;",
        "SELECT rerank_score('q', id) FROM vector_top_k('a', 'b', 2);",
        "SELECT 1 FROM vector_top_k('a', 'b', 2) AS x, vector_top_k('a', 'c', 2) AS y;",
    )
    assert done.stderr == ""
    (line,) = peer.lines
    begin, call = Frame.BEGIN, Frame.CALL
    assert line.heard == [Frame.HELLO, begin, call, call, call, begin, call, call, call, begin, call, call]


def test_a_server_that_has_ended_is_replaced(checked):
    """A connection that broke between two statements is opened again."""

    def script(line):
        line.welcome()
        line.call()
        line.result("answered")

    peer = checked.says(script)
    assert checked.run(*["SELECT embed('x');"] * 3).stdout == "answered\n" * 3
    assert len(peer.lines) == 3


def test_frames_in_pieces(checked):
    """Frames come as they come: several at once, one byte at a time, the head of one behind the end of another."""
    result = as_table(1, [("in pieces",)])
    stream = struct.pack("<IB", 1, Frame.WORKING) * 2 + struct.pack("<IB", len(result) + 1, Frame.RESULT) + result

    def script(line):
        line.welcome()
        for cut in range(1, len(stream)):
            line.call()
            line.raw(stream[:cut])
            time.sleep(0.002)
            line.raw(stream[cut:])

    checked.says(script)
    assert checked.run(*["SELECT embed('x');"] * (len(stream) - 1)).stdout == "in pieces\n" * (len(stream) - 1)


def test_a_long_error_is_cut_between_characters(checked):
    """An error has a thousand bytes at most, and is UTF-8."""
    for character in ("ü", "€", "🐝"):
        checked.says(after_call(lambda line, text=character * 600: line.send(Frame.ERROR, as_row(["Error", text]))))
        errors = checked.run("SELECT embed('x');").stderr
        assert set(errors.split(": ", 1)[1].strip()) == {character}
        checked.peers.pop().close()
        (checked.folder / "server.sock").unlink()


def mutated(rng, data: bytes) -> bytes:
    """Return bytes with a few of them changed, cut out or repeated."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, kind = rng.randrange(len(changed) + 1), rng.randrange(4)
        if kind == 0:
            changed[place : place + rng.randint(1, 4)] = rng.choice([b"\0", b"\xff" * 4, b"\x7f", rng.randbytes(2)])
        elif kind == 1:
            del changed[place : place + rng.randint(1, 8)]
        elif kind == 2:
            changed[place:place] = changed[: rng.randint(1, 16)]
        else:
            changed[place : place + 1] = bytes([rng.randrange(256)])
    return bytes(changed)


@pytest.mark.parametrize("seed", [100, 101, 126])
def test_mutated_answers(checked, seed):
    """Three thousand frames that are nearly right: each an answer or an error, and neither crash nor leak."""
    rng = random.Random(seed)
    bodies = [
        (Frame.RESULT, as_table(1, [("a text",)])),
        (Frame.RESULT, as_table(3, [(1, 0.5, 1), (2, 0.75, b"2"), (None, "", 3)])),
        (Frame.ERROR, as_row(["InputError", "a message"])),
        (Frame.QUERY, as_row(["SELECT :a, ?2, 'x' LIMIT 3", 2, "a", 1, "b", "text"])),
        (Frame.QUERY, as_row(["SELECT value FROM json_each(?)", 1, None, "[1,2,3]"])),
    ]

    def script(line):
        line.welcome()
        line.call()
        kind, body = rng.choice(bodies)
        line.raw(mutated(rng, struct.pack("<IB", len(body) + 1, kind) + body))

    checked.says(script)
    statements = ["SELECT embed('x');", "SELECT * FROM vector_top_k('a', 'b', 3);", "SELECT * FROM sqlrag_info();"]
    assert checked.run(*statements * 1000, "SELECT 'the end';").stdout.endswith("the end\n")
    assert len(checked.peers[0].lines) > 2500  # what is left of one frame can answer the next call


# Where there is no server


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nowhere/sqlrag", "SQLRAG_COMMAND is /nowhere/sqlrag, which is no program"),
        ("/bin/true", "was started and cannot be reached at"),
        ("{folder}/broken", "cannot be started: "),
    ],
)
def test_no_server(checked, command, words):
    """It says what cannot be started, or reached, and where."""
    broken = checked.folder / "broken"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    checked.environment["SQLRAG_COMMAND"] = command.format(folder=checked.folder)
    assert words in checked.run("SELECT embed('x');").stderr


def test_no_program(checked, tmp_path):
    """Without a program in sight, the error says how to come by it."""
    checked.environment |= {"SQLRAG_COMMAND": "", "PATH": str(tmp_path)}
    assert "pip install sqlrag, or set SQLRAG_COMMAND" in checked.run("SELECT embed('x');").stderr


def test_a_socket_that_nobody_listens_at(checked):
    """What a killed server has left counts as no server."""
    checked.says(lambda line: None).close()
    assert "SQLRAG_COMMAND is /nowhere" in checked.run("SELECT embed('x');").stderr


def test_a_folder_that_others_can_enter(checked):
    """Nothing is sent to a socket in a folder that is not the user's alone, be it by mode or by a link."""
    peer = checked.says(lambda line: line.welcome())
    checked.folder.chmod(0o755)
    assert "must be a folder of yours that nobody else can enter" in checked.run("SELECT embed('x');").stderr
    checked.folder.chmod(0o700)
    link = checked.folder / "link"
    link.symlink_to(checked.folder)
    checked.environment["SQLRAG_SOCKET"] = str(link / "server.sock")
    assert "must be a folder of yours" in checked.run("SELECT embed('x');").stderr
    assert peer.lines == []


def test_the_path_of_a_socket_that_is_too_long(checked):
    """The system's limit is named."""
    checked.environment["SQLRAG_SOCKET"] = str(checked.folder / ("x" * 200))
    assert re.search("no sqlrag server at .*x: File name too long", checked.run("SELECT embed('x');").stderr)


def test_the_place_by_default(checked):
    """Without SQLRAG_SOCKET it is server-1.sock in the user's runtime folder."""
    del checked.environment["SQLRAG_SOCKET"]
    checked.environment["XDG_RUNTIME_DIR"] = str(checked.folder)
    (checked.folder / "sqlrag").mkdir(mode=0o700)
    home, checked.folder = checked.folder, checked.folder / "sqlrag"
    os.symlink(checked.folder / "server.sock", checked.folder / "server-1.sock")
    checked.says(after_call(lambda line: line.result("found")))
    assert checked.run("SELECT embed('x');").stdout == "found\n"
    checked.folder = home

"""The bytes of the protocol: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrag.errors import InputError
from sqlrag.serve.model_server.channel import Channel, Gone
from sqlrag.serve.model_server.protocol import (
    LONGEST_FRAME,
    Frame,
    ProtocolError,
    as_row,
    as_table,
    query_body,
    read_row,
    read_table,
)
from tests.serve.clients import read_query

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)


@given(st.lists(VALUES))
def test_rows_come_back(values):
    """Every value that SQLite stores survives the way there, its type too."""
    back = read_row(as_row(values))
    assert back == values
    assert [type(value) for value in back] == [type(value) for value in values]


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n)).map(lambda rows: (n, rows))))
def test_tables_come_back(table):
    """Tables do, the empty ones too."""
    columns, rows = table
    assert read_table(as_table(columns, rows)) == rows


@given(st.text(), st.one_of(st.lists(VALUES), st.dictionaries(st.text("abc_", min_size=1), VALUES, min_size=1)))
def test_queries_come_back(sql, bindings):
    """With bindings by name and by position."""
    sql = sql.encode(errors="replace").decode()
    assert read_query(query_body(sql, bindings)) == (sql, bindings)


@given(st.lists(VALUES), st.data())
def test_a_body_cut_short_is_refused(values, data):
    """Whatever is missing, it is noticed; and so is what is too much."""
    body = as_row([*values, 1])
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises((ProtocolError, UnicodeDecodeError)):
        read_row(body[:cut])
    with pytest.raises(ProtocolError):
        read_row(body + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(body):
    """No other error, and no memory for rows that are not there."""
    for read in (read_row, read_table, read_query):
        with suppress(ProtocolError, UnicodeDecodeError):
            read(body)


def test_what_sqlite_cannot_store():
    """An integer of 65 bits, a list."""
    for value in (2**63, [1], {}):
        with pytest.raises(InputError, match="no value that SQLite can store"):
            as_row([value])


def test_a_huge_table_of_nothing():
    """The counts of a table are not believed before its bytes are there."""
    with pytest.raises(ProtocolError, match="4294967295 rows in 6 bytes"):
        read_table(struct.pack("<HI", 65535, 2**32 - 1))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (struct.pack("<IB", LONGEST_FRAME + 1, 4), "a frame of 67,108,865 bytes"),
        (struct.pack("<IB", 0, 4), "a frame of 0 bytes"),
        (struct.pack("<IB", 1, 99), "unknown type 99"),
    ],
)
def test_what_is_no_frame(sent, said):
    """Too long, empty, of no known type."""
    one, other = socket.socketpair()
    with one, other:
        one.sendall(sent)
        with pytest.raises(ProtocolError, match=said):
            Channel(other).receive(1)


def test_the_end_of_a_connection():
    """Between two frames and within one; and silence is another thing."""
    one, other = socket.socketpair()
    with one, other:
        channel = Channel(other)
        with pytest.raises(TimeoutError):
            channel.receive(0.01)
        one.sendall(struct.pack("<IB", 10, Frame.CALL) + b"abc")
        one.close()
        with pytest.raises(Gone):
            channel.receive(1)

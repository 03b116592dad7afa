"""A server in a process of its own, and clients with a database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from sqlrag.engines.sqlite.functions import load_vec
from sqlrag.errors import error_named
from sqlrag.serve.model_server.client import SILENT_SECONDS, Client
from sqlrag.serve.model_server.protocol import VERSION, Frame, ProtocolError, as_row, as_table, read_row, read_table


@contextmanager
def socket_folder():
    """Yield a path for a socket: short, as they have to be (unix(7): 108 bytes), in a folder of mode 0700."""
    folder = tempfile.mkdtemp(prefix="srv", dir="/tmp")
    try:
        yield Path(folder, "s.sock")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(path, *options, quiet=False, **environment):
    """Yield the process of a server that answers; `quiet`: nobody reads what it says of its clients."""
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(path), "--json", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | environment,
    ) as process:
        try:
            assert json.loads(process.stdout.readline())["pid"] == process.pid
            yield process
        finally:
            process.kill()


class ExtensionClient(Client):
    """A client that keeps to the protocol as the C extension does: it answers the server's QUERYs from a database."""

    def __init__(self, path, connection, candidates=None, rerank_limit=None):
        self._settings = candidates, rerank_limit
        self._connection = connection
        super().__init__(path, "test")

    def _hello(self, name):
        return as_row([VERSION, name, os.environ.get("SQLRAG_SOCKET_TOKEN"), *self._settings])

    def begin(self):
        """Tell that a statement of the user's begins."""
        self._channel.send(Frame.BEGIN)

    def call(self, function, *arguments):
        """Return the rows of a function; of a scalar, one row of one value. Raises what the function does."""

        def talk():
            self._channel.send(Frame.CALL, as_row([function, *arguments]))
            while True:
                kind, body = self._channel.receive(SILENT_SECONDS)
                if kind == Frame.RESULT:
                    return read_table(body)
                if kind == Frame.ERROR:
                    raise error_named(*read_row(body))
                if kind == Frame.QUERY:
                    self._channel.send(*self.answer(body))
                elif kind != Frame.WORKING:
                    raise ProtocolError(kind.name)

        return self._talk(talk)

    def answer(self, query):
        """Return the frame that answers a QUERY."""
        try:
            rows = list(self._connection.execute(*read_query(query)))
        except apsw.Error as error:
            return Frame.FAILED, as_row([getattr(error, "extendedresult", apsw.SQLITE_ERROR), str(error)])
        return Frame.ROWS, as_table(len(rows[0]) if rows else 0, rows)


def read_query(body):
    """Return the SQL of a QUERY and its bindings. Raises ProtocolError."""
    sql, count, *rest = read_row(body, least=2)
    if not isinstance(sql, str) or not isinstance(count, int) or len(rest) != 2 * count:
        raise ProtocolError("a query is its SQL, a count and so many bindings")
    names, values = rest[::2], rest[1::2]
    if all(name is None for name in names):
        return sql, values
    if not all(isinstance(name, str) for name in names):
        raise ProtocolError("bindings have names, or none has")
    return sql, dict(zip(names, values, strict=True))


@contextmanager
def client_of(path, database, **options):
    """Yield a client with a connection to a database."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    load_vec(connection)
    client = ExtensionClient(path, connection, **options)
    try:
        yield client
    finally:
        client.close()
        with suppress(apsw.Error):
            connection.close()

"""Who may ask the JSON API, and what they may do (docs/access.md)."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

PASSWD = {"sqlite": "SELECT readfile('/etc/passwd')", "duckdb": "SELECT * FROM read_text('/etc/passwd')"}
OUTSIDE = {
    "sqlite": ["ATTACH '/etc/hostname' AS other", "VACUUM INTO '/tmp/sqlrag-copy.db'"],
    "duckdb": ["ATTACH '/etc/hostname' AS other", "COPY documents TO '/tmp/sqlrag-copy.csv'", "FROM '/etc/passwd'"],
}
WRITES = [
    "DELETE FROM documents", "UPDATE chunks SET text = ''", "INSERT INTO documents SELECT * FROM documents",
    "CREATE TABLE t (a INTEGER)", "CREATE TEMP TABLE t (a INTEGER)", "DROP TABLE chunks", "SELECT 1; DROP TABLE chunks",
    "BEGIN", "PRAGMA user_version = 7", "SELECT sqlrag_drop_index('chunks')",
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic abc"}, 401),
        ({"Authorization": "Bearer \N{HONEYBEE}"}, 401),
    ],
    ids=str,
)
def test_wrong_token(server, headers, status):
    """Without the token nothing is told, not even which paths there are."""
    sent = {"Authorization": f"Bearer {server.token}", **headers}
    encoded = {name: value.encode() for name, value in sent.items() if value is not None}
    for path in ("/describe", "/openapi.json", "/search?question=x") + (() if status == 200 else ("/nope",)):
        response = httpx2.get(server.url + path, headers=encoded, timeout=60)
        assert response.status_code == status
        assert ("www-authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({f"X-{number}": "x" for number in range(100)}, 431),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_host(server, client, headers, status):
    """No web page of another origin or under another name (DNS rebinding)."""
    headers = {name: value.format(port=server.port) for name, value in headers.items()}
    assert client.get("/describe", headers=headers).status_code == status


def test_another_address(server):
    """It listens on the loopback alone."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        pytest.skip("there is no /proc/net/tcp here")
    addresses = [line.split()[1] for line in table.read_text().splitlines()]
    assert f"0100007F:{server.port:04X}" in addresses
    assert f"00000000:{server.port:04X}" not in addresses


def test_path_outside(client, engine):
    """No file but the database's own."""
    for statement in (PASSWD[engine], *OUTSIDE[engine]):
        response = client.post("/sql", json={"statement": statement})
        assert response.status_code in {403, 422}, statement
        assert "root:" not in response.text
    assert not list(Path("/tmp").glob("sqlrag-copy.*"))


@pytest.mark.parametrize("statement", WRITES)
def test_write_on_read_only(client, statement):
    """Nothing is written, whatever is asked."""
    assert client.post("/sql", json={"statement": statement}).status_code in {403, 422}
    count = "SELECT (SELECT count(*) FROM documents) AS d, (SELECT count(*) FROM chunks) AS c"
    assert client.post("/sql", json={"statement": count}).json()["rows"] == [{"d": 25, "c": 25}]

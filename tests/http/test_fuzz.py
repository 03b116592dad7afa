"""A few hundred mutated requests; `python -m tests.http.fuzz` sends as many as one likes."""

from __future__ import annotations

from tests.http.fuzz import run


def test_mutated_requests(server, client):
    """Each is answered with a status that is described, or closed; the server is there afterwards, and no larger."""
    client.get("/describe")
    before = server.memory()
    *_, fuzz = run(server, messages=400, seed=1)
    assert fuzz.wrong == []
    assert fuzz.statuses[200] > 10
    assert fuzz.statuses[400] > 100
    assert client.get("/describe").status_code == 200
    assert server.log == []
    assert server.memory() - before < 100_000

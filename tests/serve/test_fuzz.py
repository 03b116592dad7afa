"""A short run of the fuzzer, and the streams that once broke something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sqlrag.serve.model_server import channel, client, queue, server, session
from sqlrag.serve.model_server.protocol import LONGEST_FRAME, Frame
from sqlrag.values.arguments import DEFAULT_IDLE_SECONDS
from tests.serve.clients import client_of
from tests.serve.fuzz import CORPUS, fuzz, grown, replay

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_a_thousand_messages():
    """No crash, no hang, no leak. `python -m tests.serve.fuzz` makes it a million."""
    found = fuzz(1_500, seed=6, keep=None)
    assert found.problems == []
    assert found.messages >= 1_500
    assert grown(found.rss) < 32


@pytest.mark.parametrize("stream", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_once_broke_it(server, database, stream):
    """The connection ends, and the next client is served."""
    assert replay(server, stream.read_bytes()) is None
    with client_of(server, database) as client:
        assert client.call("token_count", "two words") == [(2,)]


def test_the_document_is_the_code():
    """Each frame with its number, and each limit, as docs/protocol.md has them."""
    documented = {name: int(number) for number, name in re.findall(r"^\| (\d+) ([A-Z]+) \|", DOCUMENT, re.MULTILINE)}
    assert documented == {frame.name: frame.value for frame in Frame}
    limits = {
        "a client waits for WELCOME": f"{client.WELCOME_SECONDS:g} s",
        "a client waits between two frames of the server": f"{client.SILENT_SECONDS:g} s",
        "the server waits for HELLO": f"{session.HELLO_SECONDS:g} s",
        "the server waits for the answer to a QUERY": f"{session.ANSWER_SECONDS:g} s",
        "the rest of a frame that has begun": f"{channel.FRAME_SECONDS:g} s",
        "waiting for the models in one CALL": f"{session.MODEL_SECONDS:g} s, then TimeLimitError",
        "connections": f"{server.MOST_CLIENTS}",
        "one text": f"{session.LONGEST_TEXT:,} characters",
        "queued for one model": f"{queue.QUEUE_TOKENS:,} tokens",
        "nothing said by any client": f"{DEFAULT_IDLE_SECONDS:g} s, then the server ends (`--idle`)",
    }
    for what, limit in limits.items():
        assert f"| {what} | {limit} |" in DOCUMENT
    assert f"from 1 to {LONGEST_FRAME:,}" in DOCUMENT
    assert f"up to {queue.BATCH_TOKENS:,} tokens" in DOCUMENT

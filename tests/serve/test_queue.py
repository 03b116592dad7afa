"""The queue of a model: whose items come next, together with whose, and until when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrag.errors import ServerError
from sqlrag.serve.model_server.queue import BATCH_TOKENS, QUEUE_TOKENS, ModelQueue


class Waits:
    """A client that waits, for a while or until it gives up."""

    def __init__(self, seconds=30.0):
        self._woken = threading.Event()
        self._seconds = seconds

    def wake(self):
        self._woken.set()

    def wait(self, job):
        while not job.done:
            if not self._woken.wait(self._seconds):
                raise TimeoutError
            self._woken.clear()


class Gate:
    """A model that keeps its batches, and works when it may."""

    def __init__(self):
        self.batches = []
        self.open = threading.Event()

    def __call__(self, items, until):
        self.batches.append(list(items))
        assert self.open.wait(30)
        return [f"{item}!" for item in items]


def queued(queue, tokens):
    """Wait until so many tokens are in the queue."""
    deadline = time.monotonic() + 10
    while queue.tokens != tokens and time.monotonic() < deadline:
        time.sleep(0.001)
    assert queue.tokens == tokens


def test_clients_take_turns():
    """Whoever came with little is not behind whoever came with much, and they go together."""
    model = Gate()
    queue = ModelQueue("test", model)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(queue.compute, Waits(), ["first"], [1])
        queued(queue, 0)
        many = [f"a{number}" for number in range(40)]
        a = pool.submit(queue.compute, Waits(), many, [BATCH_TOKENS // 8] * 40)
        queued(queue, 5 * BATCH_TOKENS)
        b = pool.submit(queue.compute, Waits(), ["b0", "b1"], [BATCH_TOKENS // 8] * 2)
        queued(queue, 5 * BATCH_TOKENS + BATCH_TOKENS // 4)
        model.open.set()
        assert (first.result(), b.result()) == (["first!"], ["b0!", "b1!"])
        assert a.result() == [f"{item}!" for item in many]
    assert model.batches[0] == ["first"]
    assert model.batches[1] == ["a0", "b0", "a1", "b1", "a2", "a3", "a4", "a5"]
    assert queue.tokens == 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, BATCH_TOKENS), min_size=1, max_size=12), min_size=1, max_size=6),
)
def test_everybody_gets_their_own(jobs):
    """Each item once, each result where it belongs, no batch over the limit."""
    sizes = []

    def model(items, until):
        sizes.append(sum(cost for _, _, cost in items))
        return [item[:2] for item in items]

    queue = ModelQueue("test", model)
    with ThreadPoolExecutor(len(jobs)) as pool:
        asked = [
            pool.submit(queue.compute, Waits(), [(who, number, cost) for number, cost in enumerate(costs)], costs)
            for who, costs in enumerate(jobs)
        ]
        for who, (costs, answer) in enumerate(zip(jobs, asked, strict=True)):
            assert answer.result() == [(who, number) for number in range(len(costs))]
    assert max(sizes) <= BATCH_TOKENS
    assert queue.tokens == 0


def test_a_time_limit_leaves_the_rest_undone():
    """The first is done at any rate; what has a limit goes with nobody else's."""
    batches = []

    def model(items, until):
        batches.append(list(items))
        return [item if until is None or number == 0 else None for number, item in enumerate(items)]

    queue = ModelQueue("test", model)
    past = time.monotonic() - 1
    assert queue.compute(Waits(), ["a", "b", "c"], [BATCH_TOKENS] * 3, past) == ["a", None, None]
    assert batches == [["a"]]
    assert queue.tokens == 0


def test_what_a_model_raises():
    """Each of those who waited gets it, and the next is served."""

    def model(items, until):
        if "bad" in items:
            raise ValueError("bad")
        return items

    queue = ModelQueue("test", model)
    with pytest.raises(ValueError, match="bad"):
        queue.compute(Waits(), ["good", "bad", "more"], [BATCH_TOKENS // 2] * 3)
    assert queue.compute(Waits(), ["good"], [1]) == ["good"]
    assert queue.tokens == 0


def test_who_gives_up_is_forgotten():
    """Nothing of theirs is begun any more."""
    model = Gate()
    queue = ModelQueue("test", model)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.compute, Waits(), ["first"], [1])
        queued(queue, 0)
        with pytest.raises(TimeoutError):
            queue.compute(Waits(0.01), ["never"] * 5, [9] * 5)
        model.open.set()
        assert first.result() == ["first!"]
    assert queue.compute(Waits(), ["next"], [1]) == ["next!"]
    assert Counter(item for batch in model.batches for item in batch) == {"first": 1, "next": 1}


def test_a_full_queue():
    """Too much is refused, unless it is all there is."""
    model = Gate()
    queue = ModelQueue("test", model)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.compute, Waits(), ["a", "b"], [1, QUEUE_TOKENS])
        queued(queue, QUEUE_TOKENS)
        with pytest.raises(ServerError, match="4,000,000 tokens to work on already"):
            queue.compute(Waits(), ["c"], [1])
        model.open.set()
        assert first.result() == ["a!", "b!"]

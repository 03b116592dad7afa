"""The queue before a model: batches of so many tokens, with one item of each waiting client in turn."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlrag.errors import ServerError

__all__ = ["BATCH_TOKENS", "QUEUE_TOKENS", "Job", "ModelQueue", "Waiter"]

BATCH_TOKENS = 8_192
"""Tokens of a batch: some 50 pairs, half a second on two cores. A new job waits no longer than that for its turn."""

QUEUE_TOKENS = 4_000_000
"""Tokens that may wait for one model, of all clients together: minutes of its work."""


class Waiter(Protocol):
    """A client that waits for its job."""

    def wait(self, job: Job) -> None:
        """Return when the job is done. Raises an error if the client does not want its result any more."""

    def wake(self) -> None:
        """End `wait`, as a job is done; called from the model's thread."""


class Job:
    """Items of one client for one model, and their results.

    `until`: after this time (`time.monotonic`) only the first item is begun; the results of the others are None.
    """

    def __init__(self, client: Waiter, items: Sequence[Any], costs: Sequence[int], until: float | None) -> None:
        self.client = client
        self.results: list[Any] = [None] * len(items)
        self.until = until
        self.error: BaseException | None = None
        self.done = False
        self.waiting = deque(enumerate(items))
        self.costs = deque(costs)
        self.running = 0

    def late(self) -> bool:
        """Tell whether the job's time is over, and its first item, which is computed at any rate, has begun."""
        begun = len(self.waiting) + self.running < len(self.results) or self.running
        return self.until is not None and bool(begun) and time.monotonic() >= self.until


class ModelQueue:
    """The queue of one model. `run(items, until)` computes a batch: a result for each item, None if it was not begun.

    A batch has either items without a time limit, of any clients, or items of a single job that has one.
    """

    def __init__(self, name: str, run: Callable[[Sequence[Any], float | None], Sequence[Any]]) -> None:
        self._run = run
        self._order: deque[Waiter] = deque()
        self._jobs: dict[Waiter, deque[Job]] = {}
        self._changed = threading.Condition()
        self.tokens = 0
        threading.Thread(target=self._serve, name=f"sqlrag-{name}", daemon=True).start()

    def compute(
        self, client: Waiter, items: Sequence[Any], costs: Sequence[int], until: float | None = None
    ) -> list[Any]:
        """Return the result of each item, when the model has computed all of them. `costs`: the tokens of each item.

        Raises ServerError if too much waits already, and whatever the model or the client's `wait` raises.
        """
        if not items:
            return []
        job = Job(client, items, costs, until)
        with self._changed:
            if self.tokens and self.tokens + sum(costs) > QUEUE_TOKENS:
                raise ServerError(f"the model server has {self.tokens:,} tokens to work on already: try again later")
            self.tokens += sum(costs)
            if client not in self._jobs:
                self._jobs[client] = deque()
                self._order.append(client)
            self._jobs[client].append(job)
            self._changed.notify()
        try:
            client.wait(job)
        finally:
            self._drop(job)
        if job.error is not None:
            raise job.error
        return job.results

    def _drop(self, job: Job) -> None:
        """Forget the items of a job that have not begun."""
        with self._changed:
            self.tokens -= sum(job.costs)
            job.waiting.clear()
            job.costs.clear()

    def _serve(self) -> None:
        while True:
            with self._changed:
                batch = self._batch()
                while not batch:
                    self._changed.wait()
                    batch = self._batch()
            results: Sequence[Any] = ()
            error: BaseException | None = None
            try:
                results = self._run([item for _, _, item in batch], batch[0][0].until)
            except BaseException as caught:  # noqa: BLE001 - raised in the threads of the clients
                error = caught
            self._give(batch, results, error)

    def _give(self, batch: Sequence[tuple[Job, int, Any]], results: Sequence[Any], error: BaseException | None) -> None:
        with self._changed:
            for number, (job, place, _) in enumerate(batch):
                job.running -= 1
                if error is not None:
                    job.error = error
                else:
                    job.results[place] = results[number]
            for job in dict.fromkeys(job for job, _, _ in batch):
                if job.error is not None:
                    self.tokens -= sum(job.costs)
                    job.waiting.clear()
                    job.costs.clear()
                self._finish_if_done(job)

    def _finish_if_done(self, job: Job) -> None:
        if not job.waiting and not job.running and not job.done:
            job.done = True
            job.client.wake()

    def _batch(self) -> list[tuple[Job, int, Any]]:
        """Take the next items: one of each client in turn, up to BATCH_TOKENS."""
        batch: list[tuple[Job, int, Any]] = []
        tokens = 0
        passed = 0
        while self._order and passed < len(self._order):
            client = self._order[0]
            job = self._next_job(client)
            if job is None:
                self._order.popleft()
                del self._jobs[client]
                continue
            fits = not batch or (tokens + job.costs[0] <= BATCH_TOKENS and _go_together(batch[0][0], job))
            if not fits:
                if tokens + job.costs[0] > BATCH_TOKENS:
                    break
                self._order.rotate(-1)
                passed += 1
                continue
            tokens += job.costs[0]
            self.tokens -= job.costs.popleft()
            batch.append((job, *job.waiting.popleft()))
            job.running += 1
            self._order.rotate(-1)
            passed = 0
        return batch

    def _next_job(self, client: Waiter) -> Job | None:
        """Return the first job of a client that has an item to begin, None if there is none."""
        jobs = self._jobs[client]
        while jobs:
            job = jobs[0]
            if job.waiting and job.late():
                self.tokens -= sum(job.costs)
                job.waiting.clear()
                job.costs.clear()
                self._finish_if_done(job)
            if job.waiting:
                return job
            jobs.popleft()
        return None


def _go_together(one: Job, other: Job) -> bool:
    return one is other or (one.until is None and other.until is None)

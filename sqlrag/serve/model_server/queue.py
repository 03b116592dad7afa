"""The work that waits for a model: of several clients, put together by tokens, one item of each client in turn."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlrag.errors import ServerError

__all__ = ["BATCH_TOKENS", "QUEUE_TOKENS", "Client", "Job", "ModelQueue"]

BATCH_TOKENS = 8_192
"""What a model is given at once: some 50 pairs, half a second on two cores, which is what a newcomer waits at most."""

QUEUE_TOKENS = 4_000_000
"""What may wait for one model, of all clients: minutes of its work."""


class Client(Protocol):
    """Who waits for a job."""

    def wait(self, job: Job) -> None:
        """Return when the job is done; raise, having cancelled it, when nobody wants it any more."""

    def wake(self) -> None:
        """Tell the one who waits that a job is done; called from the model's thread."""


class Job:
    """Items of one client for one model, and their results.

    `until`: after this time (`time.monotonic`) no item is begun but the first; the results of those are None.
    """

    def __init__(self, client: Client, items: Sequence[Any], costs: Sequence[int], until: float | None) -> None:
        self.client = client
        self.results: list[Any] = [None] * len(items)
        self.until = until
        self.error: BaseException | None = None
        self.done = False
        self.waiting = deque(enumerate(items))
        self.costs = deque(costs)
        self.running = 0

    def late(self) -> bool:
        """Tell whether the job has had its time; the first item is done at any rate."""
        begun = len(self.waiting) + self.running < len(self.results) or self.running
        return self.until is not None and bool(begun) and time.monotonic() >= self.until


class ModelQueue:
    """One model's work. `run(items, until)` computes a batch: a result for each item, None for one not begun.

    A batch holds either items without a limit of time, of any clients, or those of one job with one.
    """

    def __init__(self, name: str, run: Callable[[Sequence[Any], float | None], Sequence[Any]]) -> None:
        self._run = run
        self._turns: deque[Client] = deque()
        self._jobs: dict[Client, deque[Job]] = {}
        self._changed = threading.Condition()
        self.tokens = 0
        threading.Thread(target=self._serve, name=f"sqlrag-{name}", daemon=True).start()

    def compute(
        self, client: Client, items: Sequence[Any], costs: Sequence[int], until: float | None = None
    ) -> list[Any]:
        """Return the result of each item, once the model has come to them.

        Raises ServerError where too much waits already, what the model raises, and what the client's `wait` does.
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
                self._turns.append(client)
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
        """Forget what of a job has not begun."""
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
            except BaseException as caught:  # noqa: BLE001 - raised in the threads of those who wait
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
        while self._turns and passed < len(self._turns):
            client = self._turns[0]
            job = self._next_job(client)
            if job is None:
                self._turns.popleft()
                del self._jobs[client]
                continue
            fits = not batch or (tokens + job.costs[0] <= BATCH_TOKENS and _go_together(batch[0][0], job))
            if not fits:
                if tokens + job.costs[0] > BATCH_TOKENS:
                    break
                self._turns.rotate(-1)
                passed += 1
                continue
            tokens += job.costs[0]
            self.tokens -= job.costs.popleft()
            batch.append((job, *job.waiting.popleft()))
            job.running += 1
            self._turns.rotate(-1)
            passed = 0
        return batch

    def _next_job(self, client: Client) -> Job | None:
        """Return the first job of a client that has something to begin, None where it has none."""
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

"""A server of `sqlrag serve` in a process of its own, and the client that asks it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.conftest import started

SERVE = [sys.executable, "-m", "sqlrag", "serve"]


@dataclass(frozen=True)
class Served:
    """Where a server listens, and what it takes to be answered."""

    url: str
    token: str
    pid: int
    log: list[str]
    """The lines on its stderr so far: read all the time, since a server whose log nobody reads waits for that."""
    page: str | None = None
    """The link that lets one browser in, with --open."""

    @property
    def port(self) -> int:
        """Its port."""
        return urlsplit(self.url).port

    @property
    def client(self) -> httpx2.Client:
        """A client that has the token."""
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)

    def memory(self) -> int:
        """Return the resident memory of the process in kB; 0 where there is no /proc."""
        status = Path(f"/proc/{self.pid}/status")
        if not status.exists():
            return 0
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))


@contextlib.contextmanager
def served(path: os.PathLike | str, *options: str) -> Iterator[Served]:
    """Start a server, on a free port if `options` name none."""
    with started([*SERVE, str(path), "--port", "0", *options, "--json"]) as process:
        told = json.loads(process.stdout.readline() or process.stderr.read())
        log: list[str] = []
        threading.Thread(target=log.extend, args=(process.stderr,), daemon=True).start()
        yield Served(told["url"], told["token"], process.pid, log, told.get("page"))


@contextlib.contextmanager
def served_both(files: dict, *options: str) -> Iterator[dict[str, Served]]:
    """Start a server of each engine."""
    with served(files["sqlite"], *options) as sqlite, served(files["duckdb"], *options) as duckdb:
        yield {"sqlite": sqlite, "duckdb": duckdb}

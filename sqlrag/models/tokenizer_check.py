"""Trying in a separate process whether a tokenizer can be loaded and used.

A tokenizer.json may come from anyone. A bad one usually raises an error. Some end the process that loads them, because
the library asks for more memory than there is, and some never finish, because of a regular expression.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_tokenizer"]

MOST_BYTES = 256 << 20
SECONDS = 60.0
MEMORY = 4 << 30
"""Address space of the process: more than it needs for a vocabulary of a million."""

_TRIED = """
import json, resource, sys
sys.path[:] = json.loads(sys.argv[3])
try:
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
except (OSError, ValueError):
    pass  # there is a lower limit already, or none can be set here
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation()
tokenizer.no_padding()
tokenizer.num_special_tokens_to_add(True)
texts = ["", "Why do bees?", "na\\u00efve caf\\u00e9 \\U0001f600 \\u6771\\u4eac", "a" * 300, "one more word " * 500]
for text in texts:
    one, other = (tokenizer.encode(text, add_special_tokens=False) for _ in range(2))
    one.truncate(64)
    tokenizer.post_process(one, other)
"""


def check_tokenizer(path: Path, digest: str, known: Path) -> None:
    """Raise InputError for a tokenizer that cannot be used. The folder `known` remembers those that can."""
    mark = known / digest
    if mark.exists():
        return
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{str(path)!r} is no tokenizer.json: it has more than {MOST_BYTES:,} bytes")
    if not sys.executable:  # Python is embedded in an application, so there is no interpreter to try it in
        return
    command = [sys.executable, "-I", "-c", _TRIED, str(path), str(MEMORY), json.dumps(sys.path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired:
        raise InputError(f"{str(path)!r} is no tokenizer to be used: a text takes it more than {SECONDS:g} s") from None
    if done.returncode:
        last = next(_said(done.stderr), f"it ended with status {done.returncode}")
        raise InputError(f"{str(path)!r} is no tokenizer to be used: tried in a process of its own, {last}")
    try:
        known.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return  # then it is tried again next time


def _said(stderr: bytes) -> Iterator[str]:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    yield from (line[:200] for line in reversed(lines) if line and not line.startswith("note:"))

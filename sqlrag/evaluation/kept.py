"""The last evaluation of each database, in the user's folder for caches: an evaluation changes no database."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlrag.evaluation.report import Evaluation
from sqlrag.models.cached_models import models_folder

__all__ = ["keep", "last_evaluation"]


def keep(evaluation: Evaluation) -> None:
    """Remember an evaluation as the last one of its database. Where nothing can be written, nothing is."""
    path = _path(evaluation.path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        begun = path.with_suffix(f".{os.getpid()}")
        begun.write_text(json.dumps(_finite({"at": time.time(), **asdict(evaluation)})), encoding="utf-8")
        begun.replace(path)


def last_evaluation(path: str) -> dict[str, Any] | None:
    """Return the last evaluation of a database as JSON, with `at`, when it was kept; None if there is none."""
    with suppress(OSError, ValueError):
        kept = json.loads(_path(path).read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return kept
    return None


def _path(database: str) -> Path:
    name = hashlib.sha256(os.path.realpath(database).encode(errors="surrogateescape")).hexdigest()[:32]
    return models_folder().parent / "evaluations" / f"{name}.json"


def _finite(value: Any) -> Any:
    """Return a value of JSON without the numbers that JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value

"""The manifest of an exported model, `manifest.json`: where the model is from, and the hashes of its files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import ModelFileError
from sqlrag.models.spec import MODEL_FILE, SPEC_FILE, TOKENIZER_FILE, read_json, shown

if TYPE_CHECKING:
    import os

__all__ = ["MANIFEST_FILE", "Manifest", "file_hash", "hashes_of"]

MANIFEST_FILE = "manifest.json"

FILES = (SPEC_FILE, MODEL_FILE, TOKENIZER_FILE)
"""The files whose hashes are in a manifest."""


# Beside a graph of more than 2 GB: its weights. Others name them after their own graph.
_DATA = re.compile(r"[\w-][\w.-]*\.onnx[._]data(_\d+)?")


@dataclass(frozen=True)
class Manifest:
    """The source of an export, and the SHA-256 of each file.

    `source` is a Hugging Face name or the path of a folder, `revision` the commit, or the SHA-256 of the folder's
    files. `precision` is "int8", "int16" or "fp32". `check` says how close the graph is to the original weights; it is
    empty for an ONNX file that was taken as it is. `notes` say what users of the model should know, `made_by` which
    versions of which libraries made it, `asked` what the user said of the model.
    """

    name: str
    source: str
    revision: str
    precision: str
    check: dict[str, float]
    files: dict[str, str]
    notes: list[str] = field(default_factory=list)
    made_by: dict[str, str] = field(default_factory=dict)
    made_at: str = ""
    asked: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Manifest | None:
        """Read a folder's manifest, None if there is none. Raises ModelFileError for a damaged one."""
        path = Path(folder) / MANIFEST_FILE
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = read_json(path)
            manifest = cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})
            manifest._check()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelFileError(f"{str(path)!r} is damaged ({error}): make the model again") from error
        return manifest

    def _check(self) -> None:
        """Raise ValueError for a value that no export writes, because a manifest may come from anyone."""
        for name in ("name", "source", "revision", "precision"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"its {name} is {shown(getattr(self, name))}")  # noqa: TRY004 - all are one error
        if not isinstance(self.files, dict) or not all(isinstance(hash_, str) for hash_ in self.files.values()):
            raise ValueError(f"its files are {shown(self.files)}")
        for name in self.files:
            if name not in FILES and not _DATA.fullmatch(name):
                raise ValueError(f"it names the file {shown(name)}, which is no part of a model")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the manifest into a model folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        (Path(folder) / MANIFEST_FILE).write_text(text, encoding="utf-8")

    def verify(self, folder: str | os.PathLike[str]) -> None:
        """Raise ModelFileError for the first file that is missing or not what was exported."""
        for name, expected in self.files.items():
            path = Path(folder) / name
            found = file_hash(path) if path.is_file() else None
            if found != expected:
                what = "is missing" if found is None else f"does not have the SHA-256 {expected[:12]}…"
                raise ModelFileError(f"{str(path)!r} {what}, so it is not what was exported: {self.remedy}")

    @property
    def remedy(self) -> str:
        """How to make the model again."""
        if Path(self.source).is_absolute():
            return f"make it again with `sqlrag models pull {self.source} --force`"
        return f"make it again with `sqlrag models pull {self.name} --force`"


def hashes_of(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the SHA-256 of each file of a model folder."""
    data = sorted(path.name for path in Path(folder).iterdir() if _DATA.fullmatch(path.name))
    return {name: file_hash(Path(folder) / name) for name in (*FILES, *data)}


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""Bringing models into the cache: fetched, exported to ONNX, and compared with the original weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import Error, InputError, MissingDependencyError, ModelFileError
from sqlrag.models.cached_models import folder_of, models_folder, verified
from sqlrag.models.detect import is_source, kind_of, licence_of, model_files
from sqlrag.models.export.atomic_folder import atomic_folder
from sqlrag.models.hub import fetch
from sqlrag.models.manifest import MANIFEST_FILE, Manifest, hashes_of
from sqlrag.models.spec import PRECISIONS, SPEC_FILE, Kind, ModelSpec, default_precision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Made", "export_folder", "exported", "pull"]

_MAKERS = ("sqlrag", "torch", "transformers", "sentence-transformers", "onnx", "onnxscript", "onnxruntime")

Tell = "Callable[[str], None]"


@dataclass(frozen=True)
class Made:
    """A model that is ready for use. `new` is False if it was already there."""

    spec: ModelSpec
    manifest: Manifest
    new: bool


@dataclass(frozen=True)
class _Source:
    """A folder to export: the model's name, where it is from, and its revision."""

    folder: Path
    name: str
    origin: str
    revision: str


def pull(
    model: str | os.PathLike[str],
    *,
    kind: Kind | None = None,
    revision: str | None = None,
    precision: str | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Made:
    """Bring a model into the cache, by its Hugging Face name or from a folder that sentence-transformers saved.

    A model that is there, whole and in the requested precision, is left as it is unless `force` is given. `kind` is for
    models whose files do not name it. `revision` is a branch, tag or commit. `precision` is one of PRECISIONS, by
    default "int8" for a bi-encoder and "int16" for a cross-encoder; if it loses too much, the next one is used. `tell`
    is called with a line for each step.

    Raises UnknownModelError, InputError, MissingDependencyError without the torch extra, ModelFileError if the export
    does not compute what the original does.
    """
    _check_precision(precision)
    path = os.fspath(model)
    if Path(path).is_dir():
        source = _of_folder(Path(path))
        final = folder_of(source.name, source.revision)
    else:
        final = folder_of(path)
        if not force and revision is None and (made := _present(final, precision)):
            return made
        _check_extra()
        tell(f"fetching {path}")
        folder, commit = fetch(path, revision)
        source = _Source(folder, path, path, commit)
    if not force and (made := _present(final, precision)) and made.manifest.revision == source.revision:
        return made
    _check_extra()
    with atomic_folder(final) as folder:
        manifest = _make(source, folder, kind, precision, tell)
    return Made(ModelSpec.load(final), manifest, new=True)


def exported(folder: str | os.PathLike[str], kind: Kind) -> ModelSpec:
    """Return the cached export of a sentence-transformers folder, found by its files' hash and made at its first use.

    Raises InputError if the folder's files say that it is of the other kind.
    """
    kind_of(Path(folder), kind)
    return pull(folder, kind=kind).spec


def export_folder(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    kind: Kind | None = None,
    precision: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Made:
    """Export a folder that sentence-transformers saved to a model folder `out`, which must be new or empty.

    The arguments and errors are those of `pull`. `name` is by default that of the folder.
    """
    _check_precision(precision)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out is {str(out)!r}, which is there and not empty: give a new folder")
    if not Path(folder).is_dir():
        raise InputError(f"folder is {os.fspath(folder)!r}, and there is no such folder")
    source = _of_folder(Path(folder))
    _check_extra()
    with atomic_folder(out.absolute()) as work:
        manifest = _make(replace(source, name=name or source.name), work, kind, precision, tell)
    return Made(ModelSpec.load(out), manifest, new=True)


def _make(
    source: _Source, work: Path, kind: Kind | None, precision: str | None, tell: Callable[[str], None]
) -> Manifest:
    """Export into an empty folder, in the requested precision or else in the next one, and check the result."""
    from sqlrag.models.export.verification import Reference

    kind = kind_of(source.folder, kind)
    tell(f"reading the original weights of {source.name}, a {kind}")
    reference = Reference(source.folder, kind, source.name)
    notes: list[str] = []
    for choice in PRECISIONS[PRECISIONS.index(precision or default_precision(kind)) :]:
        tell(f"exporting to ONNX, {choice}")
        try:
            spec = _export(source, work, kind, choice)
            measured = reference.measure(work)
        except Error:
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise anything
            problem = f"{choice} could not be made: {_first_line(error)}"
        else:
            said = ", ".join(f"{what} {value:.4f}" for what, value in measured.items())
            if reference.accepts(measured, choice):
                tell(f"compared with the original weights: {said}")
                manifest = replace(_manifest(source, spec, work), precision=choice, check=measured)
                manifest = replace(manifest, notes=notes + _notes(spec))
                manifest.save(work)
                return manifest
            problem = f"{choice} is too far from the original weights: {said}"
        # From the notes `_present` knows which precisions were tried without success.
        notes.append(problem)
        tell(problem)
    raise ModelFileError(
        f'model {source.name!r} can\'t be exported: {"; ".join(notes)}. Run it with backend="torch", or choose another'
    )


def _export(source: _Source, work: Path, kind: Kind, precision: str) -> ModelSpec:
    from sqlrag.models.export.onnx_export import export_onnx

    return export_onnx(
        source.folder,
        work,
        kind=kind,
        name=source.name,
        precision=precision,
        licence=licence_of(source.folder),
        source=source.origin,
    )


def _notes(spec: ModelSpec) -> list[str]:
    """Return what users of a model should know about it."""
    notes = []
    if spec.kind == "bi-encoder" and not spec.normalize:
        notes.append("its vectors have lengths of their own; here they have length 1, so it ranks by the cosine")
    if any(spec.prompts.values()):
        notes.append(f"prompts: query {spec.prompts['query']!r}, document {spec.prompts['document']!r}")
    return notes


def _manifest(source: _Source, spec: ModelSpec, work: Path) -> Manifest:
    return Manifest(
        name=spec.name,
        source=source.origin,
        revision=source.revision,
        precision="",
        check={},
        files=hashes_of(work),
        made_by={package: _version(package) for package in _MAKERS},
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _of_folder(folder: Path) -> _Source:
    if (folder / SPEC_FILE).is_file():
        raise InputError(f"{str(folder)!r} is exported already: give it by its path, it needs no more")
    if not is_source(folder):
        kind_of(folder)  # says what is missing
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    absolute = folder.resolve()
    return _Source(absolute, absolute.name, str(absolute), digest.hexdigest())


def _present(final: Path, precision: str | None) -> Made | None:
    """Return the cached model of a folder if it is whole and in the requested precision, otherwise None.

    A model that lost too much in the requested precision counts too, because exporting it again would change nothing.
    """
    if not (final / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = Manifest.load(final)
        if manifest is None:
            return None
        tried = precision and any(note.startswith(f"{precision} ") for note in manifest.notes)
        if precision not in (None, manifest.precision) and not tried:
            return None
        return Made(verified(ModelSpec.load(final)), manifest, new=False)
    except Error:
        return None


def _check_precision(precision: str | None) -> None:
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}: it is one of {', '.join(PRECISIONS)}")


def _check_extra() -> None:
    """Raise MissingDependencyError before any work is done."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "sentence_transformers", "onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'exporting a model needs {", ".join(missing)}: pip install "sqlrag[torch]" (only to export: what is in '
            f"{models_folder()} runs without it)"
        )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first_line(error: BaseException) -> str:
    """Return the first line of the error's cause, because exporters wrap the reason in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""Bringing models into the cache: fetched, exported to ONNX, and compared with the original weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrag.errors import Error, InputError, ModelFileError
from sqlrag.models.cached_models import folder_of, verified
from sqlrag.models.detect import is_source, kind_of, licence_of, model_files
from sqlrag.models.export.adopt import adopt
from sqlrag.models.export.atomic_folder import atomic_folder
from sqlrag.models.export.overlay import overlaid
from sqlrag.models.export.plan import Options, Plan, check_extra, plan_of
from sqlrag.models.hub import SMALL, Repository, hub_name, open_repository
from sqlrag.models.manifest import MANIFEST_FILE, Manifest, hashes_of
from sqlrag.models.spec import PRECISIONS, SPEC_FILE, Kind, ModelSpec, default_precision
from sqlrag.models.weights import check_weights

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Made", "Options", "export_folder", "exported", "look", "pull", "sizes_of"]

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
    options: Options | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    more: Callable[[int, int], None] = lambda _done, _all: None,
) -> Made:
    """Bring a model into the cache, by its Hugging Face name or from a folder that sentence-transformers saved.

    A model that is there, whole and as requested, is left as it is unless `force` is given. `kind` is for models whose
    files do not name it. `revision` is a branch, tag or commit. `precision`, or that of the options, is one of
    PRECISIONS, by default "int8" for a bi-encoder and "int16" for a cross-encoder; if it loses too much, the next one
    is used. `tell` is called with a line for each step, `more` with how many bytes of how many have been downloaded.

    Raises UnknownModelError, InputError, MissingDependencyError without the torch extra where an export needs it,
    ModelFileError if the export does not compute what the original does.
    """
    options = options or Options(precision=precision)
    _check_precision(options.precision)
    path = os.fspath(model)
    if Path(path).is_dir():
        source = _of_folder(Path(path))
        final = folder_of(source.name, _keyed(source.revision, options))
        if not force and (made := _present(final, options)):
            return made
        chosen = plan_of(source.name, source.folder, sizes_of(source.folder), kind, options)
        check_extra(chosen)
    else:
        path, named = hub_name(path)
        revision = revision or named
        final = folder_of(path)
        if not force and revision is None and (made := _present(final, options)):
            return made
        repository, chosen = look(path, kind, revision, options)
        if not force and (made := _present(final, options)) and made.manifest.revision == repository.commit:
            return made
        check_extra(chosen)
        source = _Source(_fetched(repository, chosen, tell, more), path, path, repository.commit)
    former = _former(final, source)
    with atomic_folder(final) as folder:
        manifest = _make(source, folder, chosen=chosen, options=options, tell=tell, former=former)
    return Made(ModelSpec.load(final), manifest, new=True)


def look(name: str, kind: Kind | None, revision: str | None, options: Options) -> tuple[Repository, Plan]:
    """Return a repository and what a pull of it will do. Of its files only the small ones are fetched."""
    repository = open_repository(name, revision)
    small = repository.get(repository.wanted(*SMALL))
    return repository, plan_of(name, small, {one: file.size for one, file in repository.files.items()}, kind, options)


def _fetched(
    repository: Repository, chosen: Plan, tell: Callable[[str], None], more: Callable[[int, int], None]
) -> Path:
    """Fetch the files of a model, and return their folder."""
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        more(done, chosen.size)

    number = len(chosen.files)
    tell(f"fetching {repository.name}: {chosen.size / 1e6:,.1f} MB in {number} file{'s' * (number > 1)}")
    folder = repository.get(chosen.files, count)
    return repository.get(repository.wanted(*SMALL)) if chosen.files else folder


def sizes_of(folder: Path) -> dict[str, int]:
    """Return the bytes of each file of a folder, by its name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _keyed(revision: str, options: Options) -> str:
    """Return the key of a folder's export: its hash, and what was said of it."""
    if not (said := options.said()):
        return revision
    return hashlib.sha256((revision + json.dumps(said, sort_keys=True)).encode()).hexdigest()


def _former(final: Path, source: _Source) -> ModelSpec | None:
    """Return the model that is replaced by one of the same weights, None if there is none."""
    try:
        manifest = Manifest.load(final)
        same = manifest is not None and (manifest.source, manifest.revision) == (source.origin, source.revision)
        return ModelSpec.load(final) if same else None
    except Error:
        return None


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
    options: Options | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Made:
    """Export a folder that sentence-transformers saved to a model folder `out`, which must be new or empty.

    The arguments and errors are those of `pull`. `name` is by default that of the folder.
    """
    options = options or Options(precision=precision)
    _check_precision(options.precision)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out is {str(out)!r}, which is there and not empty: give a new folder")
    if not Path(folder).is_dir():
        raise InputError(f"folder is {os.fspath(folder)!r}, and there is no such folder")
    source = _of_folder(Path(folder))
    chosen = plan_of(source.name, source.folder, sizes_of(source.folder), kind, options)
    check_extra(chosen)
    with atomic_folder(out.absolute()) as work:
        manifest = _make(
            replace(source, name=name or source.name), work, chosen=chosen, options=options, tell=tell, former=None
        )
    return Made(ModelSpec.load(out), manifest, new=True)


def _make(
    source: _Source,
    work: Path,
    *,
    chosen: Plan,
    options: Options,
    tell: Callable[[str], None],
    former: ModelSpec | None,
) -> Manifest:
    """Make a model in an empty folder, by the road of its plan."""
    check_weights(source.folder)
    for note in chosen.notes:
        tell(note)
    if chosen.road == "onnx":
        spec, notes = adopt(
            source.folder, work, name=source.name, source=source.origin, plan=chosen, options=options, tell=tell
        )
        manifest = replace(_manifest(source, spec, work), precision=spec.precision, notes=notes + _notes(spec))
    else:
        with overlaid(source.folder, chosen.kind, options) as folder:
            manifest = _exported(replace(source, folder=folder), work, chosen.kind, options.precision, tell)
        manifest = replace(manifest, notes=[*chosen.notes, *manifest.notes])
    spec = ModelSpec.load(work)
    if options.dimensions and spec.dimension is not None and options.dimensions > spec.dimension:
        raise InputError(f"dimensions is {options.dimensions}, but {source.name!r} has {spec.dimension}")
    if options.window and options.window > spec.max_tokens:
        manifest.notes.append(f"it reads {spec.max_tokens:,} tokens, not {options.window:,}: it has no more positions")
    if former is not None and (known := _same_vectors(former, spec)):
        replace(spec, formerly=tuple(dict.fromkeys((*spec.formerly, *known)))).save(work)
    manifest = replace(manifest, asked=options.said(), files=hashes_of(work))
    manifest.save(work)
    return manifest


def _same_vectors(former: ModelSpec, spec: ModelSpec) -> tuple[str, ...]:
    """Return the identities of an earlier export that gives the same vectors, () if it does not."""
    if former.precision:
        return former.formerly if former.identity == spec.identity else ()
    fields = ("kind", "max_tokens", "dimension", "prompts", "pooling", "normalize")
    same = all(getattr(former, name) == getattr(spec, name) for name in fields)
    return (former.weights_hash, *former.formerly) if same else ()


def _exported(source: _Source, work: Path, kind: Kind, precision: str | None, tell: Callable[[str], None]) -> Manifest:
    """Export into an empty folder, in the requested precision or else in the next one, and check the result."""
    from sqlrag.models.export.verification import Reference

    tell(f"reading the original weights of {source.name}, a {kind}")
    reference = Reference(source.folder, kind, source.name)
    notes: list[str] = []
    for choice, rotate in _choices(kind, precision):
        tell(f"exporting to ONNX, {choice}{', rotated' if rotate else ''}")
        try:
            spec = _export(source, work, kind, choice, rotate=rotate)
            measured = reference.measure(work)
        except Error:
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise anything
            problem = f"{choice} could not be made: {_first_line(error)}"
        else:
            said = ", ".join(f"{what} {value:.4f}" for what, value in measured.items())
            if reference.accepts(measured, choice):
                tell(f"compared with the original weights: {said}")
                manifest = _manifest(source, spec, work)
                return replace(manifest, precision=choice, check=measured, notes=notes + _notes(spec))
            problem = f"{choice} is too far from the original weights: {said}"
        # From the notes `_present` knows which precisions were tried without success.
        notes.append(problem)
        tell(problem)
    raise ModelFileError(
        f"model {source.name!r} can't be exported: {'; '.join(notes)}. Run it with --backend torch "
        '(backend="torch" in Python), or choose another'
    )


def _choices(kind: Kind, precision: str | None) -> list[tuple[str, bool | None]]:
    """Return the precisions that are tried, and whether channels are rotated before they are rounded.

    Some bi-encoders have channels that are far larger than the others. For those the rotation is tried as well.
    """
    tried: list[tuple[str, bool | None]] = [
        (one, None) for one in PRECISIONS[PRECISIONS.index(precision or default_precision(kind)) :]
    ]
    if tried[0][0] == "int8" and kind == "bi-encoder":
        tried.insert(1, ("int8", True))
    return tried


def _export(source: _Source, work: Path, kind: Kind, precision: str, *, rotate: bool | None) -> ModelSpec:
    from sqlrag.models.export.onnx_export import export_onnx

    return export_onnx(
        source.folder,
        work,
        kind=kind,
        name=source.name,
        precision=precision,
        licence=licence_of(source.folder),
        source=source.origin,
        rotate=rotate,
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


def _present(final: Path, options: Options) -> Made | None:
    """Return the cached model of a folder if it is whole and as requested, otherwise None.

    A model that lost too much in the requested precision counts too, because exporting it again would change nothing.
    """
    if not (final / MANIFEST_FILE).is_file():
        return None
    try:
        manifest = Manifest.load(final)
        if manifest is None:
            return None
        precision = options.precision
        if manifest.asked != options.said() and (options.said() or not _is_taken(manifest)):
            return None
        tried = precision and any(note.startswith(f"{precision} ") for note in manifest.notes)
        if precision not in (None, manifest.precision) and not tried:
            return None
        return Made(verified(ModelSpec.load(final)), manifest, new=False)
    except Error:
        return None


def _is_taken(manifest: Manifest) -> bool:
    """Return whether a model is an ONNX file that was taken as it is."""
    return not manifest.check


def _check_precision(precision: str | None) -> None:
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}: it is one of {', '.join(PRECISIONS)}")


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

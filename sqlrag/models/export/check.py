"""What a pull of a model would do, without its weights; adding an exported model to the cache, and removing one."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, UnknownModelError
from sqlrag.models.cached_models import cached_models, folder_of, verified
from sqlrag.models.conventions import card_names, read_conventions, read_settings
from sqlrag.models.detect import licence_of
from sqlrag.models.export.atomic_folder import atomic_folder
from sqlrag.models.export.plan import plan_of
from sqlrag.models.export.pull import Options, look, sizes_of
from sqlrag.models.hub import SMALL, hub_name
from sqlrag.models.manifest import Manifest, hashes_of
from sqlrag.models.named_models import bundled_models
from sqlrag.models.spec import ModelSpec, default_precision

if TYPE_CHECKING:
    from sqlrag.models.spec import Kind

__all__ = ["add_model", "check_model", "remove_model"]


def check_model(name: str, *, kind: Kind | None, revision: str | None, options: Options) -> dict[str, Any]:
    """Return what `pull` would do with a model. The arguments and errors are those of `pull`."""
    if Path(name).is_dir():
        folder = Path(name)
        plan = plan_of(name, folder, sizes_of(folder), kind, options)
    else:
        name, named = hub_name(name)
        repository, plan = look(name, kind, revision or named, options)
        folder = repository.get(repository.wanted(*SMALL))
    found = read_conventions(folder, [name, *card_names(folder)])
    config = read_settings(folder / "config.json")
    notes = list(plan.notes)
    if plan.road == "export":
        precision = options.precision or default_precision(plan.kind)
        notes.append(f"would export it to ONNX in {precision}, compared with the original weights")
        if plan.missing:
            notes.append(f'that needs {", ".join(plan.missing)}: pip install "sqlrag[torch]"')
    if plan.kind == "bi-encoder":
        pooling = options.pooling or found.pooling
        notes.append(f"pooling: {pooling}" if pooling else "its files name no pooling")
        prompts = {**found.prompts, **options.prompts}
        if any(prompts.values()):
            notes.append(f"prompts: query {prompts.get('query', '')!r}, document {prompts.get('document', '')!r}")
    return {
        "name": name,
        "kind": plan.kind,
        "road": plan.road,
        "files": list(plan.files),
        "bytes": plan.size,
        "missing": list(plan.missing),
        "architecture": (config.get("architectures") or [None])[0],
        "dimension": (options.dimensions or found.truncate or config.get("hidden_size") or config.get("dim"))
        if plan.kind == "bi-encoder"
        else None,
        "window": options.window or found.max_tokens,
        "licence": licence_of(folder),
        "notes": notes,
    }


def add_model(folder: str | os.PathLike[str], name: str | None = None) -> ModelSpec:
    """Copy an exported model into the cache, by default under its own name. Raises InputError, UnknownModelError."""
    spec = verified(ModelSpec.load(folder))
    assert spec.folder is not None
    name = name or spec.name
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name in bundled_models():
        raise InputError(f"name is {name!r}: it takes NAME or OWNER/NAME, and no name of a bundled model")
    made = Manifest.load(folder)
    files = made.files if made else hashes_of(spec.folder)
    if not made:
        made = Manifest(name, str(spec.folder.resolve()), "", spec.precision or "int8", {}, files)
    final = folder_of(name)
    with atomic_folder(final) as work:
        for file in files:
            shutil.copyfile(spec.folder / file, work / file)
        # The name is no part of the identity: indexes that the folder made are still its own.
        replace(spec, name=name).save(work)
        replace(made, name=name, files=hashes_of(work)).save(work)
    return ModelSpec.load(final)


def remove_model(name: str) -> int:
    """Remove the pulled models of a name, and return the number of bytes. Raises UnknownModelError, InputError."""
    found = [spec for spec in cached_models() if spec.name == name]
    if not found:
        pulled = ", ".join(dict.fromkeys(spec.name for spec in cached_models())) or "none"
        raise UnknownModelError(f"there is no pulled model {name!r}: pulled are {pulled}")
    freed = 0
    for spec in found:
        assert spec.folder is not None
        if spec.folder.is_symlink():
            raise InputError(f"{str(spec.folder)!r} is a link: remove it, or what it points to, yourself")
        freed += sum(path.stat().st_size for path in spec.folder.iterdir() if path.is_file())
        shutil.rmtree(spec.folder)
    return freed

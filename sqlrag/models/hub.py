"""Fetching a model's files from Hugging Face: safetensors, tokenizer and configuration, never code or a pickle."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sqlrag.errors import InputError, MissingDependencyError, UnknownModelError

__all__ = ["fetch", "in_cache", "is_hub_name"]

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "README.md"]
# Exports that others made. Every model is exported here, in one way.
_UNWANTED = ["onnx/*", "*/onnx/*", "openvino/*", "*/openvino/*", "coreml/*", "gguf/*", "original/*"]


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME, as Hugging Face's names do."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def in_cache(name: str) -> Path | None:
    """Return a repository's folder in Hugging Face's own cache, None if it is not there. Uses no network."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        return None
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, local_files_only=True, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
        )
    except (errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError):
        return None


def fetch(name: str, revision: str | None = None) -> tuple[Path, str]:
    """Return the folder and the commit of a repository's files, downloaded or from Hugging Face's own cache.

    Without a network the cache is enough. Raises MissingDependencyError without the torch extra, UnknownModelError if
    there is no such model or if it cannot be reached.
    """
    if not is_hub_name(name):
        raise InputError(
            f"{name!r} is neither a folder nor a Hugging Face name: those have an owner, as in "
            f"sentence-transformers/{name} or cross-encoder/{name}"
        )
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        msg = 'models come through huggingface_hub: pip install "sqlrag[torch]"'
        raise MissingDependencyError(msg) from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise UnknownModelError(
            f"Hugging Face has no model {name!r}, or it is private or gated: check the name, or log in with "
            "`hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownModelError(
            f"model {name!r} has no revision {revision!r}: leave it out, or give a branch, tag or commit"
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise UnknownModelError(_unreachable(name, error)) from error
    return folder, folder.name


def _unreachable(name: str, error: Exception) -> str:
    from huggingface_hub import constants

    from sqlrag.models.cached_models import folder_of

    first = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else str(error).strip().splitlines()[0]
    return (
        f"model {name!r} is not in Hugging Face's cache ({constants.HF_HUB_CACHE}), and Hugging Face can't be reached "
        f"({first}): run `sqlrag models pull {name}` where there is a network and copy {folder_of(name)} here, or give "
        "a folder that was downloaded elsewhere"
    )

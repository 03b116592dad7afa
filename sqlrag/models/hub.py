"""Models on Hugging Face: what a repository holds, and fetching of it what is needed, never code.

What is fetched lies in Hugging Face's own cache. `huggingface_hub` comes with `tokenizers`, so a plain install has it.
"""

from __future__ import annotations

import errno
import json
import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from sqlrag.errors import Error, InputError, UnknownModelError
from sqlrag.models.download import download

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

__all__ = ["Repository", "cached", "fetch", "hub_name", "in_cache", "is_hub_name", "open_repository"]

SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "README.md", "artifact.metadata")
"""Configuration, tokenizer and model card."""
# Exports that others made. `models pull` takes an ONNX file by its name.
_UNWANTED = ("onnx/*", "*/onnx/*", "openvino/*", "*/openvino/*", "coreml/*", "gguf/*", "original/*", ".*")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?", re.IGNORECASE)

More = "Callable[[int], None]"


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME, as Hugging Face's names do."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None


def hub_name(text: str) -> tuple[str, str | None]:
    """Return the name, and perhaps the revision, in what a user gives: OWNER/NAME, or the address of its page."""
    found = _ADDRESS.match(text)
    if not found:
        return text, None
    owner, name, *rest = [*text[found.end() :].split("?", maxsplit=1)[0].split("#", maxsplit=1)[0].split("/"), "", ""][
        :5
    ]
    revision = rest[1] if len(rest) > 1 and rest[0] in ("tree", "blob", "resolve") and rest[1] else None
    return f"{owner}/{name}", revision


@dataclass(frozen=True)
class _File:
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit. `files` are the names of its files with their sizes.

    `folder` is set if there is no network: then only what Hugging Face's cache has can be used.
    """

    name: str
    commit: str
    files: Mapping[str, _File]
    folder: Path | None = None

    def wanted(self, *patterns: str) -> list[str]:
        """Return the files that match a pattern, without those of exports for other programs."""
        return [
            name
            for name in self.files
            if any(fnmatch(name, pattern) for pattern in patterns)
            and not any(fnmatch(name, pattern) for pattern in _UNWANTED)
        ]

    def size(self, names: Collection[str]) -> int:
        """Return the number of bytes of files."""
        return sum(self.files[name].size for name in names)

    def get(self, names: Collection[str], more: Callable[[int], None] = lambda _: None) -> Path:
        """Fetch files, unless the cache has them, and return their folder; `more` is called with numbers of bytes.

        A large file whose download breaks off is continued by the next call. Raises UnknownModelError.
        """
        if self.folder is not None:
            return self.folder
        import huggingface_hub
        from huggingface_hub import constants

        with self._broken_off(), _explained(self.name):
            repository = Path(constants.HF_HUB_CACHE) / f"models--{self.name.replace('/', '--')}"
            headers = huggingface_hub.utils.build_hf_headers()
            for name in names:
                file = self.files[name]
                blob = repository / "blobs" / (file.sha256 or "")
                if file.sha256 is None or blob.is_file():
                    more(file.size)
                    continue
                url = huggingface_hub.hf_hub_url(self.name, name, revision=self.commit)
                download(url, blob, size=file.size, sha256=file.sha256, headers=headers, more=more)
            # Fetches the small files, and links the large ones that are there now.
            return Path(
                huggingface_hub.snapshot_download(
                    self.name, revision=self.commit, allow_patterns=list(names), max_workers=4
                )
            )

    @contextmanager
    def _broken_off(self) -> Iterator[None]:
        try:
            yield
        except _UnreachableError as error:
            raise UnknownModelError(
                f"the download of {self.name!r} broke off ({error}): pull it again, and it continues where it ended"
            ) from error


def open_repository(name: str, revision: str | None = None) -> Repository:
    """Return what a repository holds: as Hugging Face says, or without a network what its cache has.

    Raises UnknownModelError if there is no such model or revision, or if it cannot be reached and is not in the cache.
    """
    if Path(name).is_file() or name.count("/") > 1:
        raise InputError(f"{name!r} is neither a folder nor a Hugging Face name, OWNER/NAME")
    if not is_hub_name(name):
        raise InputError(
            f"{name!r} is neither a folder nor a Hugging Face name: those have an owner, as in "
            f"sentence-transformers/{name} or cross-encoder/{name}"
        )
    import huggingface_hub
    from huggingface_hub import constants

    try:
        with _explained(name, revision):
            if not constants.ENDPOINT.startswith(("http://", "https://")):
                raise InputError(f"HF_ENDPOINT is {constants.ENDPOINT!r}: it starts with https:// or http://")
            found = huggingface_hub.HfApi(endpoint=constants.ENDPOINT).model_info(
                name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
            files = {
                one.rfilename: _File(one.size or 0, one.lfs.sha256 if one.lfs else None) for one in found.siblings or []
            }
            return Repository(name, str(found.sha), files)
    except _UnreachableError as error:
        if (folder := cached(name, revision)) is None:
            raise UnknownModelError(_unreachable(name, str(error))) from error
        names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
        return Repository(name, folder.name, {one: _File((folder / one).stat().st_size, None) for one in names}, folder)


def fetch(name: str, revision: str | None = None) -> tuple[Path, str]:
    """Return the folder and the commit of a model's configuration, tokenizer and safetensors.

    Without a network the cache is enough. Raises UnknownModelError if there is no such model, or no way to it.
    """
    repository = open_repository(name, revision)
    return repository.get(repository.wanted(*SMALL, "*.safetensors")), repository.commit


def cached(name: str, revision: str | None = None) -> Path | None:
    """Return a repository's folder in Hugging Face's own cache, None if it is not there. Uses no network."""
    return _in_cache(name, revision, SMALL)


def in_cache(name: str) -> Path | None:
    """Return a repository's folder in Hugging Face's own cache if its weights are there too. Uses no network."""
    return _in_cache(name, None, (*SMALL, "*.safetensors"))


def _in_cache(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path | None:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                local_files_only=True,
                allow_patterns=list(patterns),
                ignore_patterns=list(_UNWANTED),
            )
        )
    except (errors.LocalEntryNotFoundError, OSError, ValueError):
        return None


class _UnreachableError(Exception):
    """Hugging Face can't be reached, or does not answer as Hugging Face does."""


@contextmanager
def _explained(name: str, revision: str | None = None) -> Iterator[None]:
    """Turn whatever the libraries raise into one line, and keep their warnings and bars off the terminal."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before, bars = logging.root.manager.disable, not are_progress_bars_disabled()
    logging.disable(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    except (Error, _UnreachableError):
        raise
    except Exception as error:  # the library, its client and the system raise anything
        raise _explanation(name, revision, error) from error
    finally:
        logging.disable(before)
        if bars:
            enable_progress_bars()


def _explanation(  # noqa: PLR0911 - a line for each cause
    name: str, revision: str | None, error: Exception
) -> Exception:
    from huggingface_hub import constants, errors

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    answer = next((one for one in chain if _status(one)), None)
    status = _status(answer)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return UnknownModelError(
            f"{name!r} is a gated model: accept its terms on its page at Hugging Face, then log in with "
            "`hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownModelError(
            f"model {name!r} has no revision {revision!r}: leave it out, or give a branch, tag or commit"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return UnknownModelError(
            f"Hugging Face has no model {name!r}, or it is private or gated: check the name, or log in with "
            "`hf auth login`"
        )
    if status is not None:
        wait = _header(answer, "Retry-After")
        when = f"in {wait} s" if wait.isdigit() else "in some minutes"
        said = "too many requests" if status == 429 else "the hub has a problem of its own"
        return UnknownModelError(
            f"model {name!r} can't be fetched now: Hugging Face answers {status} ({said}). Try again {when}; what has "
            "been downloaded is kept"
        )
    if any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain):
        return UnknownModelError(
            f"model {name!r} can't be fetched: the disk of Hugging Face's cache is full ({constants.HF_HUB_CACHE}). "
            "Free some space, or set HF_HOME to a folder on another disk"
        )
    if any(isinstance(one, (json.JSONDecodeError, UnicodeDecodeError)) for one in chain):
        return _UnreachableError(
            f"{constants.ENDPOINT} answers with something else than Hugging Face does: is there a login page of your "
            "network, or a proxy, in between?"
        )
    first = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    return _UnreachableError("HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else first[:300])


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error reports, None if there was no answer."""
    if isinstance(error, HTTPError):
        return error.code
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def _header(error: BaseException | None, name: str) -> str:
    headers: Any = error.headers if isinstance(error, HTTPError) else getattr(error, "response", None)
    headers = getattr(headers, "headers", headers)
    return str(headers.get(name) or "") if headers is not None else ""


def _unreachable(name: str, first: str) -> str:
    from huggingface_hub import constants

    from sqlrag.models.cached_models import folder_of

    return (
        f"model {name!r} is not in Hugging Face's cache ({constants.HF_HUB_CACHE}), and Hugging Face can't be reached "
        f"({first}): run `sqlrag models pull {name}` where there is a network and copy {folder_of(name)} here, or give "
        "a folder that was downloaded elsewhere"
    )

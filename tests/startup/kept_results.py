"""Keep what the bundled models compute in files, so that the tests encode a text once and not in every process.

Both models are deterministic: tests/models shows it, and tests/test_kept_results.py compares a sample of the kept
results with fresh ones in each run. Everything above the model is as ever: an `Embedder` counts the texts that it
encodes, and a new `Reranker` remembers no score. The folder is named after whatever decides a result: the code in
`sqlrag/models`, the version of ONNX Runtime and the kind of processor.

The folder is in the environment variable `SQLRAG_KEPT_RESULTS`, which tests/conftest.py sets; where it is not set (see
the fixture `real_models`), the models run. This module is imported at the start of processes of any Python, so it
imports little.
"""

import hashlib
import importlib.util
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from functools import wraps
from pathlib import Path

VARIABLE = "SQLRAG_KEPT_RESULTS"
_MODULE = "sqlrag.models.onnx"
_LONGEST = 100_000
"""Characters of a text that is kept beside its result, for the comparison with a fresh one."""

_memory: dict = {}


def folder() -> Path:
    """Return the folder for results of this code on this machine, in the root of the repository."""
    from importlib import metadata

    root = Path(__file__).parents[2]
    digest = hashlib.blake2b(metadata.version("onnxruntime").encode(), digest_size=8)
    for source in sorted([*(root / "sqlrag" / "models").glob("*.py"), Path(__file__)]):
        digest.update(source.read_bytes())
    with suppress(OSError):
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        digest.update(next((line for line in described if line.startswith("flags")), "").encode())
    return root / ".kept_results" / digest.hexdigest()


def forget_older() -> None:
    """Remove the folders of other code that nobody has written to for a week."""
    import shutil

    current = folder()
    for other in current.parent.glob("*"):
        with suppress(OSError):
            if other != current and time.time() - other.stat().st_mtime > 7 * 86_400:
                shutil.rmtree(other)


def use() -> None:
    """Look for results in the folder before a bundled model runs, in this process."""
    if _MODULE in sys.modules:
        _put_between(sys.modules[_MODULE])
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the module with the models as the other finders do; changes it once it has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            _put_between(module)

        spec.loader.exec_module = execute_and_change
        return spec


def _put_between(module) -> None:
    encode, score = module.OnnxEncoder.embed, module.OnnxScorer.score
    bundled = Path(module.__file__).parent / "bundled"

    @wraps(encode)
    def embed(self, texts, role):
        folder = folder_of(self.spec, bundled)
        if folder is None or not texts:
            return encode(self, texts, role)
        known = _known(folder, [(role, text) for text in texts], module.current_stop())
        if missing := [text for (_, text), result in known.items() if result is None]:
            for text, vector in zip(missing, encode(self, missing, role), strict=True):
                known[role, text] = _keep(folder, (role, text), vector.tobytes())
        return _array([known[role, text] for text in texts])

    @wraps(score)
    def score_pairs(self, pairs, until=None):
        folder = folder_of(self.spec, bundled)
        if folder is None or not pairs or until is not None:  # how many are scored in time is the model's affair
            return score(self, pairs, until)
        pairs = [tuple(pair) for pair in pairs]
        known = _known(folder, pairs, module.current_stop())
        if missing := [pair for pair, result in known.items() if result is None]:
            for pair, value in zip(missing, score(self, missing), strict=True):
                known[pair] = _keep(folder, pair, value.tobytes())
        return _array([known[pair] for pair in pairs]).reshape(-1)

    module.OnnxEncoder.embed, module.OnnxScorer.score = embed, score_pairs


def folder_of(spec, bundled: Path):
    """Return the folder of a bundled model's results; None for another model, and where the models are to run."""
    kept = os.environ.get(VARIABLE)
    if not kept or spec.folder is None or spec.folder.parent != bundled:
        return None
    settings = (spec.weights_hash, spec.max_tokens, spec.pooling, spec.prompts, spec.activation)
    return os.path.join(kept, f"{spec.name}-{hashlib.blake2b(repr(settings).encode(), digest_size=4).hexdigest()}")


def _array(results: list):
    import numpy as np

    return np.stack([np.frombuffer(result, np.float32) for result in results])


def _known(folder: str, keys: list, stop) -> dict:
    """Return the result of each key as bytes, or None. A statement that is to stop does so between two of them."""
    known = {}
    for key in keys:
        stop.check()
        known[key] = _read(_path(folder, key))
    return known


def _path(folder: str, texts: tuple) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    name = digest.hexdigest()
    return os.path.join(folder, name[:2], name[2:])


def _read(path: str):
    if path not in _memory:
        try:
            with open(path, "rb") as file:
                _memory[path], _ = _parse(file.read())
        except OSError:  # it is not there, or a test has taken the process's descriptors
            return None
    return _memory[path]


def _keep(folder: str, key: tuple, result: bytes) -> bytes:
    """Write a result, and before it its length, behind it its texts. A reader never sees half a file."""
    path = _path(folder, key)
    _memory[path] = result
    shown = "\0".join(key)
    if len(shown) > _LONGEST or shown.count("\0") != len(key) - 1:
        shown = ""
    begun = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(begun, "wb") as file:
            file.write(struct.pack("I", len(result)) + result + shown.encode("utf-8", "surrogatepass"))
        os.replace(begun, path)
    except OSError:  # a full disk that a test has made, say: then the next process computes it
        with suppress(OSError):
            os.unlink(begun)
    return result


def _parse(content: bytes) -> tuple:
    length = struct.unpack("I", content[:4])[0]
    return content[4 : 4 + length], content[4 + length :].decode("utf-8", "surrogatepass")


def entries(folder):
    """Yield `(texts, result)` of each result whose texts are kept beside it, in any order."""
    for path in Path(folder).glob("??/*"):
        if not path.suffix:
            result, shown = _parse(path.read_bytes())
            if shown:
                yield shown.split("\0"), result

"""The ONNX Runtime backend: one sequence at a time per thread, and as many threads as CPUs.

Dynamic int8 has one scale for a whole batch, so in a batch the vector of a text would depend on the other texts. On a
CPU batches of one are also the fastest, because larger ones pay for padding and leave the cache.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sqlrag.errors import InputError, ModelFileError
from sqlrag.models.spec import IN_GRAPH, MODEL_FILE, TOKENIZER_FILE
from sqlrag.models.stopping import current_stop
from sqlrag.models.tokenizer import ModelTokenizer, windows
from sqlrag.process.cpus import usable_cpus
from sqlrag.process.ending import at_end
from sqlrag.process.forks import at_fork, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import tokenizers
    from numpy.typing import NDArray

    from sqlrag.models.spec import ModelSpec, Role

__all__ = ["INPUTS", "OnnxEncoder", "OnnxScorer", "OnnxSession", "activated", "onnxruntime_version"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "pooled_mask")
"""The inputs that a graph over tokens may have. `pooled_mask` is 0 for the tokens of a prompt that is not pooled."""

# On a CPU this fused operator takes four times as long as the two that it replaces. Measured with ONNX Runtime 1.31:
# without it all-MiniLM-L6-v2 is a sixth faster, and the bundled reranker a tenth.
_SLOW_FUSIONS = ["SkipLayerNormFusion"]
# The memory of attention grows with the square of the length, to a gigabyte or more at 8,192 tokens. Sequences longer
# than this run one after the other, whatever the number of threads.
_LONG_TOKENS = 2048


class _OnnxModel:
    """A model in a model folder, opened at its first use."""

    def __init__(self, spec: ModelSpec, threads: int | None = None) -> None:
        self.spec = spec
        folder = spec.folder or Path()
        self.tokenizer = ModelTokenizer(folder / TOKENIZER_FILE)
        self._session = OnnxSession(folder / MODEL_FILE, threads, output=spec.output)


class OnnxEncoder(_OnnxModel):
    """A bi-encoder: texts in, vectors out."""

    def embed(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Return the texts' vectors as the model pools them, (n, dimension) float32."""
        import numpy as np

        prompt = self.spec.prompts.get(role, "")
        skipped = 0 if self.spec.include_prompt or not prompt else self._prompt_length(prompt)
        vectors = np.empty((len(texts), self.spec.dimension or 0), np.float32)
        for start, end in windows(texts):
            window = [prompt + text for text in texts[start:end]]
            inputs = self.tokenizer.singles(window, self.spec.max_tokens)
            vectors[start:end] = self._session.run(
                _longest_first(inputs), inputs.__getitem__, self._pool, skipped=skipped
            )
        return vectors

    def width(self, text: str) -> int:
        """Return how many numbers the graph gives for a text, or for each of its tokens."""
        inputs = self.tokenizer.singles([text], self.spec.max_tokens)
        return int(self._session.run([0], inputs.__getitem__, lambda output: output.shape[-1])[0])

    def _prompt_length(self, prompt: str) -> int:
        """Return how many tokens belong to the prompt, for models that leave it out of the mean."""
        encoding = self.tokenizer.singles([prompt], self.spec.max_tokens)[0]
        return len(encoding) - sum(encoding.special_tokens_mask[-1:])

    def _pool(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one vector for the graph's output: the last hidden state, (1, tokens, dimension), or the vector.

        No token is padding.
        """
        import numpy as np

        pooling = self.spec.pooling
        whole = self.spec.full_dimension or self.spec.dimension
        ranks = 2 if pooling == IN_GRAPH else 3
        if hidden.ndim != ranks or hidden.shape[0] != 1 or hidden.shape[-1] != whole:
            raise ModelFileError(
                f"model {self.spec.name!r} gives token vectors of the shape {hidden.shape}: its graph is no bi-encoder "
                f"of {whole} dimensions"
            )
        tokens = hidden[0] if pooling == IN_GRAPH else hidden[0, :, : self.spec.dimension]
        if pooling == IN_GRAPH:
            return np.asarray(tokens[: self.spec.dimension], np.float32)
        if not len(tokens):  # a static model and a text without tokens
            return np.zeros(tokens.shape[-1], np.float32)
        if pooling == "mean":
            return np.asarray(tokens.mean(axis=0, dtype=np.float32), np.float32)
        if pooling == "max":
            return np.asarray(tokens.max(axis=0), np.float32)
        return np.asarray(tokens[0 if pooling == "cls" else -1], np.float32)


class OnnxScorer(_OnnxModel):
    """A cross-encoder: pairs in, scores out."""

    def conditions(self) -> tuple[str, ...]:
        """Return the tokenizer's hash, the version of the library, and the kind of processor."""
        import platform  # which imports subprocess

        return self.tokenizer.digest, f"onnxruntime {onnxruntime_version()}", platform.machine()

    def score(self, pairs: Sequence[tuple[str, str]], until: float | None = None) -> NDArray[np.float32]:
        """Return the pairs' scores, (n,) float32: the logit, through the model's activation.

        With `until` (`time.monotonic`) pairs are begun in their order, and after that time none but the first. The
        score of a pair that was not begun is NaN.
        """
        import numpy as np

        logits = np.empty(len(pairs), np.float64)
        if until is None:
            for start, end in windows(pairs):
                inputs = self._inputs(pairs[start:end])
                logits[start:end] = self._session.run(_longest_first(inputs), inputs.__getitem__, _only)
        else:

            def encode(place: int) -> tokenizers.Encoding:
                # Tokenizing all pairs together is faster (3 % of the model's time instead of 8 %), but perhaps only few
                # of them are ever scored.
                return self._inputs([pairs[place]])[0]

            logits[:] = self._session.run(range(len(pairs)), encode, _only, until)
        return activated(logits, self.spec)

    def _inputs(self, pairs: Sequence[tuple[str, str]]) -> list[tokenizers.Encoding]:
        if self.spec.template:
            return self.tokenizer.templated(pairs, self.spec.template, self.spec.max_tokens)
        return self.tokenizer.pairs(pairs, self.spec.max_tokens)


def activated(logits: NDArray[np.float64], spec: ModelSpec) -> NDArray[np.float32]:
    """Return logits through a model's activation."""
    import numpy as np

    if spec.activation == "sigmoid":
        # The exponent is never positive, so exp cannot overflow.
        small = np.exp(-np.abs(logits))
        logits = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return logits.astype(np.float32)


class OnnxSession:
    """An ONNX graph, opened at its first use.

    `inputs` are the names of those that it may have, `output` the one that is used, "" for the first.
    """

    def __init__(self, path: Path, threads: int | None, inputs: Sequence[str] = INPUTS, *, output: str = "") -> None:
        self._path = path
        self._wanted = [output] if output else None
        self._known = inputs
        self._threads = threads or usable_cpus()
        self._opened: Any = None
        self._inputs: list[str] = []
        self._jobs: SimpleQueue[Callable[[], None] | None] | None = None
        self._lock = threading.Lock()
        self._one_long = threading.Lock()
        self._inside: set[int] = set()
        at_fork(self)

    # Called around a fork (sqlrag/process/forks.py)

    def before_fork(self, _seconds: float) -> bool:
        """Return whether no thread is inside the library."""
        return not self._inside

    def after_fork(self) -> None:
        """Continue in the parent: there is nothing to do."""

    def in_child(self, *, at_rest: bool) -> None:
        """Start new threads at the next run, and open the graph again if a thread of the parent was using it."""
        self._lock, self._one_long = threading.Lock(), threading.Lock()
        self._jobs = None
        self._inside = set()
        if not at_rest:
            leave(self._opened)
            self._opened = None

    def run(
        self,
        order: Sequence[int],
        encode: Callable[[int], tokenizers.Encoding | dict[str, NDArray[Any]]],
        finish: Callable[[Any], Any],
        until: float | None = None,
        *,
        skipped: int = 0,
    ) -> list[Any]:
        """Run each sequence `encode(place)` by itself, in this order, and return `finish(output)` by place.

        A graph that reads no tokens is given its inputs by their names. The first
        `skipped` tokens, those of a prompt, are not pooled by a graph that asks which are.

        After `until` (`time.monotonic`) no sequence but the first is begun. The result of the others is None.
        """
        self._open()
        results: list[Any] = [None] * len(order)
        waiting = list(reversed(order))
        stop = current_stop()

        def work() -> None:
            while until is None or len(waiting) == len(order) or time.monotonic() < until:
                try:
                    place = waiting.pop()
                except IndexError:
                    return
                stop.check()
                encoding = encode(place)
                with self._one_long if len(encoding) > _LONG_TOKENS else nullcontext():
                    results[place] = finish(self._output(encoding, skipped))

        if self._threads == 1 or len(order) <= 1:
            work()
        else:
            self._side_by_side(work, waiting)
        return results

    def _side_by_side(self, work: Callable[[], None], waiting: list[int]) -> None:
        """Do the work in all threads at once. An error in one of them stops the others, and is raised here."""
        finished: SimpleQueue[BaseException | None] = SimpleQueue()

        def one() -> None:
            error: BaseException | None = None
            try:
                work()
            except BaseException as caught:  # noqa: BLE001 - raised below, in the caller's thread
                error = caught
                waiting.clear()
            finished.put(error)

        jobs = self._workers()
        try:
            for _ in range(self._threads):
                jobs.put(one)
            errors = [finished.get() for _ in range(self._threads)]
        finally:
            waiting.clear()  # after Ctrl-C or an error the rest is not wanted
        for error in errors:
            if error is not None:
                raise error

    def constants(self, names: Sequence[str]) -> list[Any]:
        """Return outputs that do not depend on the inputs."""
        import numpy as np

        self._open()
        feed = {}
        for node in self._opened.get_inputs():
            shape = [size if isinstance(size, int) else 2 for size in node.shape]
            feed[node.name] = np.zeros(shape, np.uint8 if node.type == "tensor(uint8)" else np.float32)
        try:
            found: list[Any] = self._opened.run(list(names), feed)
        except Exception as error:  # the library raises its own types, none public
            raise ModelFileError(f"{str(self._path)!r} lacks what a reader keeps in its graph: {error}") from error
        return found

    def _output(self, encoding: tokenizers.Encoding | dict[str, NDArray[Any]], skipped: int) -> NDArray[np.float32]:
        """Return the graph's first output. Raises ModelFileError if it cannot be computed, or is not numbers."""
        me = threading.get_ident()
        self._inside.add(me)
        try:
            output = self._opened.run(self._wanted, self._feed(encoding, skipped))[0]
        except Exception as error:  # the library raises its own types, none public
            raise ModelFileError(
                f"{str(self._path)!r} cannot compute {_counted(encoding)}: {error}; the tokenizer and the window "
                "(max_tokens) of its folder may be another model's"
            ) from error
        finally:
            self._inside.discard(me)
        import numpy as np

        if getattr(getattr(output, "dtype", None), "kind", "") != "f" or not np.isfinite(output).all():
            raise ModelFileError(f"{str(self._path)!r} gives what is no number: it is damaged, make the model again")
        numbers: NDArray[np.float32] = output.astype(np.float32, copy=False)  # some graphs compute in 16 bits
        return numbers

    def _feed(self, encoding: tokenizers.Encoding | dict[str, NDArray[Any]], skipped: int) -> dict[str, Any]:
        import numpy as np

        if isinstance(encoding, dict):
            return encoding
        mask = encoding.attention_mask
        known = {
            "input_ids": encoding.ids,
            "attention_mask": mask,
            "token_type_ids": encoding.type_ids,
            "position_ids": range(len(mask)),
            "pooled_mask": [0] * min(skipped, len(mask)) + mask[skipped:],
        }
        return {name: np.array([known[name]], np.int64) for name in self._inputs}

    def _open(self) -> None:
        with self._lock:
            if self._opened is None:
                self._opened = _open_session(self._path, self._known)
                self._inputs = [node.name for node in self._opened.get_inputs()]

    def _workers(self) -> SimpleQueue[Callable[[], None] | None]:
        """Return the queue from which the threads take their work.

        This is not an executor, because Ctrl-C inside the code of a Future or a Condition can leave its lock taken
        forever. A SimpleQueue is written in C, and an interrupt cannot break it.
        """
        with self._lock:
            if self._jobs is None:
                self._jobs = SimpleQueue()
                threads = [
                    threading.Thread(target=_serve, args=(self._jobs,), name=f"sqlrag-model-{number}", daemon=True)
                    for number in range(self._threads)
                ]
                for thread in threads:
                    thread.start()
                at_end(partial(_end, os.getpid(), threads, self._jobs), of_model=True)
            return self._jobs


@lru_cache(maxsize=1)
def onnxruntime_version() -> str:
    """Return the library's version, without importing it if its package has the usual name."""
    from importlib import metadata  # here, as it takes longer to import than all the rest

    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        import onnxruntime

        return str(onnxruntime.__version__)


def _serve(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _end(owner: int, threads: list[threading.Thread], jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """Let the threads finish their sequences before the interpreter ends.

    A thread that returns from the library's C++ after that is ended there, which aborts the whole process
    (https://docs.python.org/3.11/c-api/init.html#c.PyEval_RestoreThread).
    """
    if owner == os.getpid():  # a forked child has this call, but not the threads
        for _ in threads:
            jobs.put(None)
        for thread in threads:
            thread.join()


def _open_session(path: Path, known: Sequence[str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # With one thread per sequence ONNX Runtime starts none of its own, so that none spins and forks are safe.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW_FUSIONS
        )
    except Exception as error:  # the library raises its own types, none public
        raise InputError(f"{str(path)!r} is not a model that ONNX Runtime can open: {error}") from error
    unknown = {node.name for node in session.get_inputs()} - set(known)
    if unknown:
        raise InputError(
            f"{str(path)!r} has the inputs {sorted(unknown)}, which no tokenizer gives: a model takes "
            f"{', '.join(known[:-1])} and {known[-1]}"
        )
    return session


def _counted(encoding: tokenizers.Encoding | dict[str, NDArray[Any]]) -> str:
    return "a comparison" if isinstance(encoding, dict) else f"{len(encoding)} tokens"


def _longest_first(inputs: Sequence[tokenizers.Encoding]) -> list[int]:
    """Return the positions of sequences, longest first, so that the threads end at about the same time."""
    return sorted(range(len(inputs)), key=lambda place: -len(inputs[place]))


def _only(logits: Any) -> float:
    """Return the one logit of one pair, whose shape is (1,) or (1, 1)."""
    if logits.size != 1:
        raise ModelFileError(
            f"a model gives {logits.size:,} numbers for a pair: its graph is no cross-encoder with one"
        )
    return float(logits.reshape(-1)[0])

"""Mutated pages of real files under the C library, built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.extension.fuzz --pages 100000

Two databases of the bundled models, one of float32 vectors, one of int8 ones as well, lose some bytes of some of their
pages; then the library's searches and functions are asked, the latter through a server. Many files are tried in one
process. Where it ends, or doesn't go on, the file is kept beside the report, and another process goes on behind it. A
fault in the machine code of SQLite or sqlite-vec, which are not ours, is counted by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

SECONDS = 120.0
"""For one file: the machine may be busy."""

EVERY = 8
"""Of so many files one is asked through the server, too, which takes several times as long as all scans."""

TREES = frozenset({2, 5, 10, 13})
"""What a page of a B-tree begins with (https://www.sqlite.org/fileformat2.html#b_tree_pages)."""

MOST_STEPS = 200
"""Of a thousand of SQLite's instructions each: what is longer is a circle in a page."""

NUMBERS = (
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    4096,
    2**15 - 1,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)

ASAN = ("exitcode=99", "detect_leaks=0", "allocator_may_return_null=1", "handle_abort=1", "quarantine_size_mb=32")

SEARCHES = (
    "SELECT id, estimate FROM sqlrag_nearest_codes('{index}_codes', :vector, 5)",
    "SELECT count(*), max(estimate) FROM sqlrag_nearest_codes('{index}_codes', :vector, 5000)",
    "SELECT id FROM sqlrag_nearest_codes('{index}_codes', :vector, 2, "
    "(SELECT sqlrag_ids(id) FROM {index} WHERE id % 3))",
    "SELECT id, distance FROM sqlrag_look_up('{index}_vec', 'float32 L2', :vector, 3, :ids)",
    "SELECT id, distance FROM sqlrag_look_up('{index}_vec', 'int8 L2', :code, 25, "
    "(SELECT sqlrag_ids(id) FROM sqlrag_nearest_codes('{index}_codes', :vector, 100)))",
)
FUNCTIONS = (
    "SELECT * FROM vector_top_k('{index}', :vector, 5)",
    "SELECT * FROM vector_top_k('{index}', :vector, 5, 'id > 3')",
    "SELECT * FROM text_top_k('{index}', 'a file of bytes', 5)",
    "SELECT * FROM hybrid_top_k('{index}', 'a file of bytes', 5)",
    "SELECT * FROM search('{index}', 'a file of bytes', 3, 2)",
    "SELECT * FROM sqlrag_info()",
)


@dataclass
class Found:
    """What happened."""

    files: int = 0
    pages: int = 0
    answers: int = 0
    errors: int = 0
    others: int = 0
    """Ends of the process in code that isn't ours."""
    problems: list[str] = field(default_factory=list)


# The databases


def make(folder: Path) -> list[Path]:
    """Make the databases: real texts, the bundled embedder, some hundreds of chunks."""

    import sqlrag
    from sqlrag.cli.standard_library import harvest

    taken = harvest()[:330]
    one, two = folder / "one.db", folder / "two.db"
    with sqlrag.connect(one) as db:
        db.ingest(taken)
    with sqlrag.connect(two) as db:
        db.ingest(taken, "chunks")
        db.ingest(taken, "small", vectors="int8")
    return [one, two]


# Mutations


def mutated(base: bytes, trees: list[int], generator: random.Random, size: int) -> dict[int, bytes]:
    """Return some pages of a file with some of their bytes changed, by their place in it.

    `trees`: the pages of B-trees, which are taken more often: the others are mostly vectors.
    """
    pages = range(1, len(base) // size)
    chosen = {
        generator.choice(generator.choice((pages, trees, trees))) for _ in range(generator.choice((1, 1, 2, 3, 5)))
    }
    if not generator.randrange(20):
        chosen.add(0)
    return {page * size: bytes(_changed(base, page * size, size, generator)) for page in chosen}


def _changed(base: bytes, start: int, size: int, generator: random.Random) -> bytearray:
    """Return a page that is changed; mostly a little of it, so that SQLite still finds its way."""
    data = bytearray(base[start : start + size])
    for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
        # Headers of pages, and of rows: at the beginning and where the cells lie.
        at = generator.choice((generator.randrange(size), generator.randrange(64), _cell(data, generator)))
        at = min(at, size - 9)
        kind = generator.randrange(7)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at] = generator.randrange(256)
        elif kind == 2:
            width, number = generator.choice((1, 2, 4, 8)), generator.choice(NUMBERS)
            data[at : at + width] = (number % 256**width).to_bytes(width, generator.choice(("little", "big")))
        elif kind == 3:
            length = generator.randrange(1, size - at)
            data[at : at + length] = bytes((generator.choice((0, 255)),)) * length
        elif kind == 4:
            length = generator.randrange(1, min(64, size - at))
            data[at : at + length] = generator.randbytes(length)
        elif kind == 5:
            other = generator.randrange(len(base) // size) * size
            data[:] = base[other : other + size]
        else:
            data[at : at + 8] = data[at + 1 : at + 8] + data[at : at + 1]
    return data


def _cell(data: bytearray, generator: random.Random) -> int:
    """Return a place near the beginning of one of a page's cells."""
    size, kind, count = len(data), data[0], int.from_bytes(data[3:5], "big")
    if kind not in TREES or not count:
        return generator.randrange(size)
    pointer = (12 if kind in {2, 5} else 8) + 2 * generator.randrange(min(count, 200))
    return min(int.from_bytes(data[pointer : pointer + 2], "big") + generator.randrange(24), size - 1)


# In the process that may end


def work(bases: list[Path], library: str, *, seed: int, first: int, pages: int, scratch: Path) -> None:
    """Try one file after the other, and print a line for each."""
    sound = [path.read_bytes() for path in bases]
    sizes = [int.from_bytes(base[16:18], "big") or 65536 for base in sound]
    trees = [
        [page for page in range(1, len(base) // size) if base[page * size] in TREES]
        for base, size in zip(sound, sizes, strict=True)
    ]
    generator = random.Random(0)
    vector = struct.pack("<384f", *(generator.gauss(0, 0.05) for _ in range(384)))
    code = bytes(generator.randrange(256) for _ in range(384))
    bindings = {"vector": vector, "code": code, "ids": struct.pack("<7q", 9, 8, 120, 1, 1, 99999, -1)}
    paths = [scratch / f"file{which}.db" for which in range(len(sound))]
    for path, data in zip(paths, sound, strict=True):
        path.write_bytes(data)
    number = first
    while pages > 0:
        generator = random.Random(f"{seed}:{number}")
        which = generator.randrange(len(sound))
        path, changed = paths[which], mutated(sound[which], trees[which], generator, sizes[which])
        _write(path, changed)
        functions = FUNCTIONS if number % EVERY == 0 else ()
        indexes = ("chunks", "small")[: which + 1]
        answers, errors = ask(path, library, bindings, (*SEARCHES, *functions), indexes)
        print(number, len(changed), answers, errors, flush=True)
        _write(path, {place: sound[which][place : place + len(data)] for place, data in changed.items()})
        pages -= len(changed)
        number += 1


def _write(path: Path, pages: dict[int, bytes]) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").unlink()
    with path.open("r+b") as file:
        for place, data in pages.items():
            file.seek(place)
            file.write(data)


def ask(
    path: Path, library: str, bindings: dict[str, bytes], statements: tuple[str, ...], indexes: tuple[str, ...]
) -> tuple[int, int]:
    """Ask one file everything; return how many answers and how many errors came."""
    import apsw

    connection = apsw.Connection(str(path))
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > MOST_STEPS

    answers = errors = 0
    try:
        connection.enable_load_extension(True)
        connection.load_extension(library)
        connection.execute("PRAGMA cache_size = 2")  # each page then lies by itself in memory
        connection.set_progress_handler(stop, 1000)
        for statement in statements:
            for index in indexes:
                steps = 0
                try:
                    list(connection.execute(statement.format(index=index), bindings))
                except (apsw.Error, UnicodeDecodeError):
                    errors += 1
                else:
                    answers += 1
    except apsw.Error:
        errors += 1
    finally:
        with suppress(apsw.Error):
            connection.close()
    return answers, errors


# In the process that watches


def fuzz(pages: int, seed: int, kept: Path) -> Found:
    """Try so many pages; what ends the process is kept in a folder."""
    from tests.serve.clients import serving, socket_folder

    found = Found()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name,
        socket_folder() as socket,
    ):
        folder = Path(name)
        bases = make(folder)
        library = build(folder)
        runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": runtime.stdout.strip(),
            "ASAN_OPTIONS": ":".join(ASAN),
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "SQLRAG_SOCKET": str(socket),
            "SQLRAG_COMMAND": "/nowhere",
        }
        command = [sys.executable, "-m", "tests.extension.fuzz", "--work", str(library.with_suffix(""))]
        command += ["--seed", str(seed), "--scratch", str(folder), *map(str, bases)]
        with serving(socket, "--idle", "86400", quiet=True):
            while found.pages < pages:
                left = ["--first", str(found.files), "--pages", str(pages - found.pages)]
                _one_process(found, [*command, *left], environment, folder, kept)
    return found


def _one_process(found: Found, command: list[str], environment: dict[str, str], folder: Path, kept: Path) -> None:
    """Let one process try files for as long as it lives, and keep what ended it."""
    log = folder / "stderr.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, cwd=ROOT
        ) as process,
    ):
        watch = _Watch(process)
        for line in process.stdout or ():
            watch.seen = time.monotonic()
            number, changed, answers, errors = map(int, line.split())
            found.files = number + 1
            found.pages += changed
            found.answers += answers
            found.errors += errors
            if found.files % 1000 == 0:
                print(found, file=sys.stderr, flush=True)
        code = process.wait()
        watch.stop()
    said = log.read_text(errors="replace")
    if code == 0 and "runtime error" not in said:
        return
    found.pages += 1
    ours = "sqlrag_extension" in said or "runtime error" in said or watch.fired or not said
    kept.mkdir(parents=True, exist_ok=True)
    case = kept / str(found.files)
    for file in folder.glob("file?.db"):
        shutil.copy(file, f"{case}.{file.name}")
    Path(f"{case}.txt").write_text(said)
    why = (
        "does not end"
        if watch.fired
        else next((line for line in said.splitlines() if "ERROR" in line or "runtime error" in line), f"exit {code}")
    )
    if ours:
        found.problems.append(f"{case}: {why}")
    else:
        found.others += 1
    found.files += 1


class _Watch:
    """Ends a process that says nothing for long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        import threading

        self.seen = time.monotonic()
        self.fired = False
        self._process = process
        self._stopped = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self.seen > SECONDS:
                self.fired = True
                self._process.kill()
                return

    def stop(self) -> None:
        self._stopped.set()


def build(folder: Path) -> Path:
    """Build the library with the sanitizers, its own times and BLOBs with ends; sqlite-vec beside it."""
    import sqlite_vec

    subprocess.run(
        ["make", "-s", "-C", str(ROOT / "extension"), "asan", f"BUILD={folder}", "HURRY=-DEXACT_BLOBS"],
        check=True,
        capture_output=True,
    )
    library = folder / "asan" / "sqlrag_extension.so"
    shutil.copy(f"{sqlite_vec.loadable_path()}.so", library.with_name("vec0.so"))
    return library


def main() -> None:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "sqlrag-fuzz")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("bases", type=Path, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(
            arguments.bases,
            arguments.work,
            seed=arguments.seed,
            first=arguments.first,
            pages=arguments.pages,
            scratch=arguments.scratch,
        )
        return
    began = time.monotonic()
    found = fuzz(arguments.pages, arguments.seed, arguments.kept)
    print(
        f"{found.pages:,} mutated pages in {found.files:,} files, {time.monotonic() - began:,.0f} s: "
        f"{found.answers:,} answers, {found.errors:,} errors, {found.others} ends outside of the library; "
        f"reports: {'; '.join(found.problems) or 'none'}"
    )
    sys.exit(bool(found.problems))


if __name__ == "__main__":
    main()

"""kill -9 and failed writes in the middle of ingest, sync, measuring, codes made anew, reindex and repair, in company.

    python benchmarks/crashes.py [--kills 200] [--seed 5] [--engine sqlite|duckdb] [--write]   # an hour or two
    python benchmarks/crashes.py --engine sqlite --operations sync,repair >runs.jsonl           # a part of it
    python benchmarks/crashes.py --report runs.jsonl others.jsonl [--write]                     # the tables of parts

Of each engine and operation so many runs are killed, at moments that are uniform over the measured length of the
operation; every second run has a reader. The runs have company in turns, as tests/live/company.py says: nobody, other
connections of the process, another program, forked children, `cp` of the live file, a clock that jumps, a backup put
in the file's place, no descriptors left, little memory left.
Then the n-th write fails, n = 1, 2, 4 ... until the operation does not write so much (on DuckDB n = 1, 4, 16 ...), with
an error of four kinds. A run takes a copy of a small database, of short texts, with batches made small so that there
are many commits. After each:

- the file opens, for reading only and for writing;
- `PRAGMA integrity_check` finds nothing in the SQLite file (of DuckDB: the index file), `check()` nothing in the index;
  an ingest that was stopped may say that it was, a repair what it has not repaired yet;
- chunks and vectors are the same ones; readers never saw a chunk without its vector, or the reverse;
- the user's table is as it was, and after `sync` each row is found by the one word that only this row has (of a repair:
  when it has been run again);
- the operation run again completes, and leaves the chunks and vectors of an undisturbed run, measured if that one is;
- a failed write reached the caller as a `sqlrag.Error` of one line.

Four processes run at once, two for each engine. Ctrl-C or a TERM ends them: the tables are of the runs until then. The
files are where TMPDIR says; a disk in memory makes no difference to what a killed process leaves. The runs are
those of tests/live/crashes.py, the short form tests/live/test_crashes.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import sqlrag
from tests.live.company import COMPANY
from tests.live.crashes import Case
from tests.live.faults import FAULTS
from tests.live.interrupted import make_small
from tests.live.operations import OPERATIONS, Operation

ENGINES = ("sqlite", "duckdb")
HALVES = ("ingest,measuring,codes", "sync,reindex,repair")
"""The operations that a process takes, of those that run beside each other."""

STEP = {"sqlite": 2, "duckdb": 4}


def kinds_of(engine: str) -> list[str]:
    """Return the ways in which a write fails: the latter two are for what no VFS of SQLite sees."""
    return [*FAULTS] if engine == "duckdb" else ["full", "io"]


def killed(case: Case, kills: int, generator: random.Random) -> Iterator[dict[str, object]]:
    """Kill so many runs."""
    for number in range(kills):
        company = tuple(COMPANY)[number % len(COMPANY)]
        moment = generator.uniform(0.0, case.seconds)
        # A reader would keep the old file when it is replaced, and the disk busy when a program waits for its lock.
        reading = number // len(COMPANY) % 2 == 1 and case.operation.name != "repair" and company != "replaced"
        outcome = case.killed(moment, reading=reading, company=company)
        yield row(case, outcome, kind="kill", at=f"{moment:.3f} s", reading=reading, company=company)


def failed(case: Case) -> Iterator[dict[str, object]]:
    """Let writes fail until the operation does not get that far."""
    for kind in kinds_of(case.engine):
        nth, under_way = 1, True
        while under_way:
            try:
                outcome = case.failed(kind, nth)
            except OSError as error:
                print(f"{case.engine}: no disk of its own can be mounted here ({error})", file=sys.stderr)
                break
            under_way = outcome.under_way
            if under_way or outcome.problems:
                yield row(case, outcome, kind=kind, at=f"n = {nth}", reading=False, company="alone")
            nth *= STEP[case.engine]


def row(case: Case, outcome, **more: object) -> dict[str, object]:
    found = {"engine": case.engine, "operation": case.operation.name, "variant": case.variant}
    return {**found, **more, "under_way": outcome.under_way, "problems": outcome.problems, "error": outcome.error}


def runs_of(engine: str, names: str, kills: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield all runs of some operations on an engine."""
    make_small()
    embedder = sqlrag.Embedder()
    for operation in [one for one in OPERATIONS if one.name in names.split(",")]:
        generator = random.Random(f"{seed} {engine} {operation.name}")
        of_each = share(kills, operation)
        for variant, count in enumerate(of_each):
            with tempfile.TemporaryDirectory() as folder:
                case = Case(engine, operation, variant, Path(folder), embedder).prepare()
                yield from killed(case, count, generator)
                if variant == 0:
                    yield from failed(case)


def share(kills: int, operation: Operation) -> list[int]:
    """Divide kills over the variants of an operation."""
    return [kills // operation.variants + (place < kills % operation.variants) for place in range(operation.variants)]


def report(rows: list[dict[str, object]], duration: str, arguments: argparse.Namespace) -> str:
    """Return the tables as Markdown."""
    kills = [one for one in rows if one["kind"] == "kill"]
    faults = [one for one in rows if one["kind"] != "kill"]
    lines = [
        "# Crashes",
        "",
        f"`python benchmarks/crashes.py --kills {arguments.kills} --seed {arguments.seed} --write`, what is done and "
        f"looked at: at the top of the script. {len(kills)} kills and {len(faults)} failed writes "
        f"{duration} on {os.cpu_count()} CPU cores, Python {platform.python_version()}, sqlrag {sqlrag.__version__}.",
        "",
        "| engine | operation | kills | under way when killed | with a reader | runs with a problem |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *table(kills, "operation"),
        "",
        "| engine | company | kills | under way when killed | with a reader | runs with a problem |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *table(kills, "company"),
        "",
        "| engine | what failed | runs in which it did | runs with a problem |",
        "| --- | --- | ---: | ---: |",
        *table(faults, "kind"),
        "",
    ]
    found = [one for one in rows if one["problems"]]
    lines += ["Problems:" if found else "No run had a problem.", ""]
    lines += [
        f"- {one['engine']}, {one['operation']} (variant {one['variant']}), {one['kind']} at {one['at']}, "
        f"{COMPANY[one['company']]}: {'; '.join(one['problems'])}"
        for one in found
    ]
    return "\n".join(lines).rstrip() + "\n"


def table(rows: list[dict[str, object]], column: str) -> list[str]:
    """Return a line for each engine and value of a column."""
    lines = []
    for engine in ENGINES:
        of_engine = [one for one in rows if one["engine"] == engine]
        for value in dict.fromkeys(one[column] for one in of_engine):
            some = [one for one in of_engine if one[column] == value]
            counts = [len(some)]
            if column != "kind":
                counts += [sum(one["under_way"] for one in some), sum(one["reading"] for one in some)]
            counts.append(sum(bool(one["problems"]) for one in some))
            name = (FAULTS | COMPANY).get(value, value)
            lines.append(f"| {engine} | {name} | {' | '.join(map(str, counts))} |")
    return lines


def ended(processes: list[subprocess.Popen[bytes]]) -> bool:
    """Wait for the processes; on Ctrl-C end them and theirs, and return False."""
    try:
        return not any(process.wait() for process in processes)
    except KeyboardInterrupt:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return False


def rows_of(files: list[Path]) -> list[dict[str, object]]:
    """Return the runs that stand in files, a line each; the last line of a process that was ended may be cut off."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def run(arguments: argparse.Namespace) -> str:
    """Let all parts run side by side, and return the tables."""
    started = time.monotonic()
    command = [sys.executable, __file__, "--kills", str(arguments.kills), "--seed", str(arguments.seed)]
    engines = [arguments.engine] if arguments.engine else ENGINES
    parts = [["--engine", engine, "--operations", half] for engine in engines for half in HALVES]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(number) for number in range(len(parts))]
        processes = []
        for part, output in zip(parts, outputs, strict=True):
            with output.open("w") as file:
                processes.append(subprocess.Popen([*command, *part], stdout=file, start_new_session=True))
        whole = ended(processes)
        minutes = f"in {(time.monotonic() - started) / 60:.0f} minutes" + ("" if whole else ", then stopped")
        return report(rows_of(outputs), minutes, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of each engine and operation")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--operations", help="print the runs of these operations on one engine as JSON")
    parser.add_argument("--report", type=Path, nargs="+", help="print the tables of runs that --operations printed")
    parser.add_argument("--write", action="store_true", help="write benchmarks/crashes.md")
    arguments = parser.parse_args()
    if arguments.operations:
        for one in runs_of(arguments.engine, arguments.operations, arguments.kills, arguments.seed):
            print(json.dumps(one), flush=True)
        return
    text = report(rows_of(arguments.report), "in parts", arguments) if arguments.report else run(arguments)
    print(text, end="")
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

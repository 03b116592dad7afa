"""What the tests of the extension share: the library as built, its checked builds, a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlite_vec

from sqlrag.errors import MissingDependencyError
from sqlrag.store.driver.built_library import loadable_path
from tests.clients.conftest import extension_python, packages  # noqa: F401 - the same fixtures
from tests.conftest import started
from tests.extension.peer import Peer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def library() -> str:
    """The path of the library that was built with the package."""
    try:
        return loadable_path()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Build a target of the extension's Makefile, without a warning; returns the folder."""
    if not shutil.which("cc") or not shutil.which("make"):
        pytest.skip("no C compiler and make here: apt install gcc make libc6-dev")
    folder = tmp_path_factory.mktemp("build")

    def make(target: str) -> Path:
        command = ["make", "-s", "-C", str(ROOT / "extension"), target, f"BUILD={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return folder

    return make


@pytest.fixture(scope="session")
def sqlite3_shell() -> str:
    """The program sqlite3."""
    shell = shutil.which("sqlite3")
    if shell is None:
        pytest.skip("no sqlite3 shell here: apt install sqlite3")
    return shell


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    """A program `sqlrag`, of this Python and this package."""
    path = tmp_path_factory.mktemp("bin") / "sqlrag"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sqlrag "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """The path of the server's socket, in a folder of ours."""
    folder = tmp_path_factory.mktemp("runtime")
    folder.chmod(0o700)
    return folder / "server.sock"


@pytest.fixture(scope="session")
def served(place) -> dict[str, str]:
    """The environment of a client whose server runs."""
    environment = {**os.environ, "SQLRAG_SOCKET": str(place), "SQLRAG_COMMAND": "/nowhere"}
    command = [sys.executable, "-m", "sqlrag", "serve", "--socket", str(place), "--json"]
    command += ["--idle", "86400"]  # the tests between two that use it may take longer than the default
    with started(command) as process:
        assert process.stdout.readline(), process.stderr.read()
        yield environment


@dataclass
class Checked:
    """The sqlite3 shell with a checked build of the extension, and a peer beside it."""

    command: list[str]
    library: Path
    folder: Path
    environment: dict[str, str]
    peers: list[Peer] = field(default_factory=list)
    before: list[str] | None = None
    """How the extension is loaded, if not with `.load`."""

    def says(self, script) -> Peer:
        """Have a peer answer from now on."""
        self.peers.append(Peer(self.folder / "server.sock", script))
        return self.peers[-1]

    def run(self, *statements: str, database: str = ":memory:") -> subprocess.CompletedProcess[str]:
        """Run statements after the extension is loaded; neither a crash nor a leak is forgiven."""
        load = self.before or [f".load {self.library.with_suffix('')}"]
        program = "\n".join([*load, ".bail off", *statements])
        done = subprocess.run(
            [*self.command, "-batch", database],
            input=program,
            capture_output=True,
            text=True,
            errors="replace",
            env=self.environment,
            timeout=120,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr
        assert "Sanitizer" not in done.stderr, done.stderr
        assert "runtime error:" not in done.stderr, done.stderr
        return done


@pytest.fixture
def checked(made, sqlite3_shell, tmp_path, short_folder):
    """The shell under AddressSanitizer and UndefinedBehaviorSanitizer, the times of the protocol a tenth."""
    library = made("asan") / "asan" / "sqlrag_extension.so"
    if not library.with_name("vec0.so").exists():
        shutil.copy(f"{sqlite_vec.loadable_path()}.so", library.with_name("vec0.so"))
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "exitcode=99:detect_leaks=1",
        "SQLRAG_SOCKET": str(short_folder / "server.sock"),
        "SQLRAG_COMMAND": "/nowhere",
    }
    shell = Checked([sqlite3_shell], library, short_folder, environment)
    yield shell
    for peer in shell.peers:
        peer.close()


@pytest.fixture
def short_folder(tmp_path) -> Path:
    """A folder of ours; the path of a socket has a hundred characters at most."""
    folder = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 90 else tmp_path
    folder.chmod(0o700)
    return folder

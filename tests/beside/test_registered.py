"""F13: a registered connection syncs through its own library, and finds what it has written, or says why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import sqlrag
from tests.engine.test_register import python_that_loads_extensions

PROGRAM = Path(__file__).with_name("registered_program.py")
SCENARIOS = re.findall(r"^@scenario\ndef (\w+)", PROGRAM.read_text(), re.MULTILINE)


@pytest.fixture(scope="module", params=["apsw", "sqlite3"])
def outcomes(request, tmp_path_factory):
    """Run all scenarios in one process; return the folder of their files and what went wrong in each."""
    python = sys.executable if request.param == "apsw" else python_that_loads_extensions()
    if python is None:
        pytest.skip(f"no Python {sys.version_info[0]}.{sys.version_info[1]} here whose sqlite3 can load extensions")
    folder = tmp_path_factory.mktemp(request.param)
    root = PROGRAM.parents[2]
    command = [python, str(PROGRAM), request.param, str(folder), sysconfig.get_path("purelib")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("name", SCENARIOS)
def test_f13_a_registered_connection(outcomes, name):
    """What an application expects of its own connection; the file is sound afterwards."""
    folder, found = outcomes
    assert found[name] is None, found[name]
    if (folder / f"{name}.db").exists():
        with sqlrag.connect(folder / f"{name}.db") as db:
            db.sync()
            assert db.check() == []

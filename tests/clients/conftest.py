"""A Python whose sqlite3 can load extensions, with the packages of the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DEBIAN = "/usr/bin/python3"


def loads_extensions(python: str) -> bool:
    """Tell whether an interpreter is of this one's version, so that it takes its packages, and can load extensions."""
    code = "import sqlite3, sys; print(sys.version_info[:2], hasattr(sqlite3.Connection, 'enable_load_extension'))"
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ran.stdout == f"{sys.version_info[:2]} True\n"


@pytest.fixture(scope="session")
def extension_python() -> str:
    """A Python that can."""
    for candidate in (sys.executable, DEBIAN):
        if os.path.exists(candidate) and loads_extensions(candidate):
            return candidate
    version = ".".join(map(str, sys.version_info[:2]))
    pytest.skip(f"neither this Python nor {DEBIAN} is a Python {version} whose sqlite3 can load extensions")


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> str:
    """The PYTHONPATH that gives it this one's packages; it has a standard library of its own.

    What is installed in place is found by what stands in a .pth file, which is read for a site's folder only.
    """
    library = os.path.dirname(os.__file__)
    own = (library, os.path.join(library, "lib-dynload"))
    paths = [path for path in sys.path if path and path not in own and not path.endswith(".zip")]
    start = tmp_path_factory.mktemp("start")
    sites = [path for path in paths if path.endswith("site-packages")]
    (start / "sitecustomize.py").write_text(f"import site\nfor folder in {sites!r}:\n    site.addsitedir(folder)\n")
    return os.pathsep.join([str(start), *paths])

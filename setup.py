"""The loadable SQLite extension, built where there is a C compiler; the metadata stand in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path("extension")


class BuildLibrary(build_ext):
    """Builds a library for SQLite: it has nothing of Python in it, and so no Python version in its name."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of the library inside the package."""
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        return str(Path(*fullname.split("."))) + suffix


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the wheel's name."""
        return "py3", "none", super().get_tag()[2]


library = Extension(
    "sqlrag.sqlrag_extension",
    sources=sorted(str(path) for path in FOLDER.glob("*.c") if path.name != "check_layout.c"),
    depends=sorted(map(str, FOLDER.glob("*.h"))),
    extra_compile_args=["-std=c11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
    libraries=["m", "dl"] if sys.platform == "linux" else [],
    # Without a compiler everything else is installed: `sqlrag extension` says what is missing.
    optional=True,
)

setup(
    # Unix sockets and fork: not for Windows yet.
    ext_modules=[] if sys.platform == "win32" else [library],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)

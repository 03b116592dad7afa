"""The loadable SQLite extension, built if there is a C compiler. The metadata are in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path("extension")


class BuildLibrary(build_ext):
    """Builds a library for SQLite. It does not use Python, so its name has no Python version."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of the library inside the package."""
        suffix = ".dylib" if sys.platform == "darwin" else ".so"
        return str(Path(*fullname.split("."))) + suffix


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and every Python 3."""

    def finalize_options(self) -> None:
        """Name the platform even if the wheel has no library: pip would take a wheel for any platform everywhere."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the wheel's name."""
        return "py3", "none", super().get_tag()[2]


library = Extension(
    "sqlrag.sqlrag_extension",
    sources=sorted(str(path) for path in FOLDER.glob("*.c") if path.name != "check_layout.c"),
    depends=sorted(map(str, FOLDER.glob("*.h"))),
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-fvisibility=hidden"],
    libraries=["m", "dl", "pthread"] if sys.platform == "linux" else [],
    # Without a compiler everything else is installed, and `sqlrag extension` says what is missing.
    optional=True,
)

setup(
    # The library needs Unix sockets and fork, so it is not for Windows yet.
    ext_modules=[] if sys.platform == "win32" else [library],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)

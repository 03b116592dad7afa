"""Check that a tag, the package and CHANGELOG.md name the same version, and that nothing a release needs is missing.

Usage: `python scripts/check_release.py v0.1.0`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def problems(tag: str) -> list[str]:
    """Return a line for each thing that must be done before this tag can be released."""
    package = (ROOT / "sqlrag" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', package, re.MULTILINE)[0]
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, and sqlrag/__init__.py says {version}")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'")
    if not re.search(r"^\[project\.urls\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE):
        found.append("pyproject.toml has no [project.urls]")
    return found


def main() -> int:
    """Print what is missing; return 1 if anything is."""
    found = problems(sys.argv[1])
    print("\n".join(found) or f"{sys.argv[1]} can be released")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

"""Draw the rooms of sqlrag and the imports between them into docs/architecture.md.

    python scripts/rooms.py           # write the drawing
    python scripts/rooms.py --check   # exit with 1 when the drawing is not what the code says

A room is a folder of `sqlrag/`. An import counts when it can run, wherever it stands in a file; an import for the type
checker alone (`if TYPE_CHECKING:`) does not.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sqlrag"
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: begin -->", "<!-- rooms: end -->"

LAYERS = [
    ["cli"],
    ["integrations", "spark"],
    ["serve"],
    ["database", "registration"],
    ["evaluation"],
    ["indexing"],
    ["engines"],
    ["store"],
    ["models"],
    ["text"],
    ["process"],
    ["results"],
    ["values"],
    ["errors"],
]
"""From the top down. The names that are not folders are modules of the package itself."""


def modules() -> dict[str, Path]:
    """Return the file of each module, by the module's dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> dict[str, set[str]]:
    """Return the modules of sqlrag that each module imports when it runs."""
    files = modules()
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        found = {_within(target, files) for target in _imported(ast.parse(path.read_text(encoding="utf-8")))}
        graph[name] = found - {name, ""}
    return graph


def room_of(module: str) -> str:
    """Return the room of a module; of one at the top of the package its own name."""
    return module.split(".")[1] if "." in module else module


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return each group of modules that import one another, however long the way round."""
    reached = {name: _reached(name, graph) for name in graph}
    groups = {frozenset({name, *(other for other in reached[name] if name in reached[other])}) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def drawing() -> str:
    """Return the rooms as a Mermaid graph and a table."""
    graph = imports()
    arrows: Counter[tuple[str, str]] = Counter()
    for name, targets in graph.items():
        arrows.update((room_of(name), room_of(target)) for target in targets if room_of(target) != room_of(name))
    rooms = [room for layer in LAYERS for room in layer]
    lines = ["```mermaid", "graph TD"]
    for upper, lower in sorted(arrows, key=lambda pair: [rooms.index(room) for room in pair if room in rooms]):
        if upper in rooms and lower in rooms and lower not in ("errors", "values"):
            lines.append(f"    {upper} --> {lower}")
    lines += ["```", "", "| room | what it is | modules | imports |", "| --- | --- | ---: | --- |"]
    for room in rooms:
        of_room = [name for name in graph if room_of(name) == room]
        below = [lower for lower in rooms if (room, lower) in arrows]
        lines.append(f"| `{room}` | {_purpose(room)} | {len(of_room)} | {', '.join(below) or '-'} |")
    return "\n".join(lines)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield what a syntax tree imports; of `from a import b` it yields `a.b`, which may be no module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imported(node)


def _within(target: str, files: dict[str, Path]) -> str:
    while target and target not in files:
        target = target.rpartition(".")[0]
    return target


def _reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for target in graph[left.pop()] - seen:
            seen.add(target)
            left.append(target)
    return seen


def _purpose(room: str) -> str:
    folder = PACKAGE / room
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return purpose.splitlines()[0]


def main() -> int:
    """Write the drawing, or compare it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    drawn = f"{before}{BEGIN}\n{drawing()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        if drawn != text:
            print("docs/architecture.md does not show the rooms as they are: run python scripts/rooms.py")
        return int(drawn != text)
    DOCUMENT.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Print functions.h: what the extension declares to SQLite, taken from the package's own definitions.

`python extension/functions.py > extension/functions.h`; a test compares the two.
"""

from __future__ import annotations

import json

from sqlrag.engines.functions import Functions
from sqlrag.engines.sqlite.functions import scalar_functions, table_functions

HEAD = """\
/* Made by functions.py from sqlrag/engines/functions.py and sqlrag/engines/sqlite/functions.py. */

static const struct scalar_function SCALARS[] = {{
{scalars}
}};

static const struct table_function TABLES[] = {{
{tables}
}};
"""


def main() -> None:
    """Print the header."""
    functions = Functions.__new__(Functions)  # only named here, never called
    scalars = [
        f"    {{{json.dumps(name)}, {counts[0]}, {counts[-1]}}}," for name, counts, _ in scalar_functions(functions)
    ]
    tables = []
    for table in table_functions(functions):
        parameters = ", ".join(map(json.dumps, table.parameters)) or "NULL"
        numbers = f"{len(table.columns)}, {table.required}, {len(table.parameters)}"
        declaration = json.dumps(table.declaration())
        tables.append(f"    {{{json.dumps(table.name)}, {numbers}, {{{parameters}}},\n     {declaration}}},")
    print(HEAD.format(scalars="\n".join(scalars), tables="\n".join(tables)), end="")


if __name__ == "__main__":
    main()

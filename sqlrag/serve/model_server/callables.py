"""What a client may call: the functions of a connection, and `functions`, which declares them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlrag.engines.sqlite.functions import scalar_functions, table_functions
from sqlrag.errors import InputError
from sqlrag.serve.model_server.protocol import as_table

if TYPE_CHECKING:
    from sqlrag.engines.functions import Functions

__all__ = ["Callee", "callees"]


@dataclass(frozen=True)
class Callee:
    """A function as clients declare and call it."""

    name: str
    kind: str
    columns: Sequence[str]
    parameters: Sequence[str]
    required: int
    function: Callable[..., Any]

    def answer(self, arguments: Sequence[Any]) -> bytes:
        """Return the result as a table. Raises InputError for a wrong number of arguments."""
        if not self.required <= len(arguments) <= len(self.parameters):
            wanted = ", ".join(self.parameters)
            raise InputError(f"{self.name}({wanted}) needs {self.required} at least: got {len(arguments)} arguments")
        if self.kind == "scalar":
            return as_table(1, [(self.function(*arguments),)])
        missing = [None] * (len(self.parameters) - len(arguments))
        return as_table(len(self.columns), self.function(*arguments, *missing))


def callees(functions: Functions) -> list[Callee]:
    """Return what a client may call."""
    scalars = [
        Callee(name, "scalar", (), list(inspect.signature(function).parameters), least, function)
        for name, least, function in scalar_functions(functions)
    ]
    tables = [
        Callee(one.name, "table", one.columns, one.parameters, one.required, one.rows)
        for one in table_functions(functions)
    ]
    found = scalars + tables
    declared = [(one.name, one.kind, ",".join(one.columns), ",".join(one.parameters), one.required) for one in found]
    columns = ("name", "kind", "columns", "parameters", "required")
    return [*found, Callee("functions", "table", columns, (), 0, lambda: declared)]

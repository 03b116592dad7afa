"""Show the value of a default in the Python reference, and not the name of a constant (mkdocs.yml loads this)."""

from __future__ import annotations

import importlib
from typing import Any

import griffe


class Defaults(griffe.Extension):
    """Replaces a default such as DEFAULT_TOP_K by what the constant is."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Look the constants of a signature up in the function's module."""
        for parameter in func.parameters:
            name = str(parameter.default)
            if name.isidentifier() and name.isupper():
                parameter.default = repr(getattr(importlib.import_module(func.module.path), name))

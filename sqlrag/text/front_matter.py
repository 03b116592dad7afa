"""The front matter of Markdown files: the fields that site generators and note-taking programs put at the beginning."""

from __future__ import annotations

from typing import Any

from sqlrag.text.documents import Json, UnreadableError
from sqlrag.text.markup import front_matter_end
from sqlrag.text.row_values import as_json, exact_number

__all__ = ["front_matter"]

_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "~": None, "": None}


def front_matter(text: str) -> tuple[str, dict[str, Json]]:
    """Return the title and the other fields of a text's front matter, in YAML or TOML; nothing if it is neither.

    Numbers are numbers if they read back as the same characters; dates stay text.
    """
    end = front_matter_end(text)
    if not end:
        return "", {}
    block = text[:end].split("\n", 1)[1].rpartition("\n")[0]
    fields = _yaml(block) if text.startswith("---") else _toml(block)
    if not isinstance(fields, dict):
        return "", {}
    title = fields.pop("title", None)
    return str(title).strip() if isinstance(title, (str, int, float)) else "", {str(k): v for k, v in fields.items()}


def _yaml(block: str) -> Any:
    import yaml

    try:
        # An alias stands for what it names, which may name others: a few lines can stand for gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(block)):
            return None
        return _typed(yaml.load(block, Loader=yaml.BaseLoader))  # noqa: S506 - it makes texts, lists and mappings
    except (yaml.YAMLError, RecursionError, ValueError, UnreadableError):
        return None


def _toml(block: str) -> Any:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        return None
    try:
        return as_json(tomllib.loads(block), "front matter")
    except (tomllib.TOMLDecodeError, RecursionError, UnreadableError):
        return None


def _typed(value: Any) -> Json:
    """Return YAML's values as JSON's."""
    if isinstance(value, dict):
        return as_json({str(key): _typed(inner) for key, inner in value.items()}, "front matter")
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    number = exact_number(value)
    return value if number is None else number

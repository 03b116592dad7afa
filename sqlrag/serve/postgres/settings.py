"""The settings of a session: SET, RESET and SHOW.

https://www.postgresql.org/docs/current/runtime-config.html. Only a few make a difference
here. The others are remembered, because drivers set them for PostgreSQL and may ask for them again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlrag
from sqlrag.serve.postgres.sqlstate import ClientError

__all__ = ["DEFAULTS", "REPORTED", "VERSION", "Settings"]

VERSION = f"15.0 (sqlrag {sqlrag.__version__})"
"""The version of PostgreSQL whose catalog and protocol clients may expect."""

DEFAULTS = {
    "application_name": "",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "client_min_messages": "notice",
    "datestyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "on",
    "extra_float_digits": "1",
    "in_hot_standby": "off",
    "integer_datetimes": "on",
    "intervalstyle": "postgres",
    "is_superuser": "off",
    "max_identifier_length": "63",
    "max_index_keys": "32",
    "search_path": "main",
    "server_encoding": "UTF8",
    "server_version": VERSION,
    "server_version_num": "150000",
    "session_authorization": "sqlrag",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "timezone": "UTC",
    "transaction_isolation": "read committed",
    "transaction_read_only": "on",
}

REPORTED = {
    name.lower(): name
    for name in (
        "application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
        "integer_datetimes", "IntervalStyle", "is_superuser", "server_encoding", "server_version",
        "session_authorization", "standard_conforming_strings", "TimeZone",
    )
}  # fmt: skip
"""The settings that are reported to a client when it connects and when they change, with their names for clients."""

# The values that these settings accept, and the error for others.
_FIXED = {
    "client_encoding": (r"utf-?8|unicode|sql_ascii|default", "22023", "this server takes UTF8 alone"),
    "datestyle": (r"iso.*|default", "0A000", "dates are in ISO style here"),
    "bytea_output": (r"hex|default", "0A000", "BLOBs are written in hex here"),
    "standard_conforming_strings": (r"on|true|1|default", "0A000", "a backslash is no escape here"),
    "transaction_read_only": (r"on|true|1|default", "25006", "this database is only read here"),
    "default_transaction_read_only": (r"on|true|1|default", "25006", "this database is only read here"),
}
_UNCHANGEABLE = frozenset({"in_hot_standby", "integer_datetimes", "is_superuser", "server_encoding", "server_version"})

_TIME = re.compile(r"(\d+)\s*(us|ms|s|min|h|d)?", re.IGNORECASE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Settings:
    """The settings of one session."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._values = dict(DEFAULTS)
        for name, value in given.items():
            self.set(name, value)
        self._first = dict(self._values)

    def set(self, name: str, value: str) -> str:
        """Change a setting; return its name. Raises ClientError for a value that this server does not support."""
        name, value = name.lower(), value.strip().strip("'")  # asyncpg's client_encoding is 'utf-8', in quotes
        if name in _UNCHANGEABLE:
            raise ClientError("55P02", f'parameter "{name}" cannot be changed')
        pattern, code, why = _FIXED.get(name, ("", "", ""))
        if pattern and not re.fullmatch(pattern, value, re.IGNORECASE):
            raise ClientError(code, f"{name} cannot be {value[:50]!r}: {why}")
        if name == "statement_timeout" and value.lower() != "default" and not _TIME.fullmatch(value):
            raise ClientError(
                "22023", f"statement_timeout is {value[:50]!r}: it takes milliseconds, or a number with a unit"
            )
        if value.lower() == "default" or name in _FIXED:
            value = DEFAULTS.get(name, "")
        if name not in self._values and len(self._values) > 1_000:
            raise ClientError("54000", "there are more than 1,000 settings")
        self._values[name] = value[:1_000]
        return name

    def reset(self, name: str | None = None) -> None:
        """Reset one setting, or all of them, to its value at the start of the connection."""
        if name is None:
            self._values = dict(self._first)
        else:
            self._values[name.lower()] = self._first.get(name.lower(), "")

    def show(self, name: str) -> str:
        """Return a setting. Raises ClientError for an unknown one."""
        try:
            return self._values[name.lower()]
        except KeyError as error:
            raise ClientError("42704", f'unrecognized configuration parameter "{name[:100]}"') from error

    def all(self) -> dict[str, str]:
        """Return all settings."""
        return dict(self._values)

    def seconds(self, most: float) -> float:
        """Return the seconds that a statement may run: the client's statement_timeout, but at most `most`."""
        found = _TIME.fullmatch(self._values["statement_timeout"])
        assert found is not None
        seconds = int(found[1]) * _SECONDS[(found[2] or "ms").lower()]
        return min(seconds, most) if seconds else most

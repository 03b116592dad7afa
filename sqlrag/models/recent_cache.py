"""A bounded, thread-safe memory of the most recently used results."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlrag.process.forks import renew_locks

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["RecentCache"]

Value = TypeVar("Value")


class RecentCache(Generic[Value]):
    """Keep the `size` most recently used values."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()
        renew_locks(self)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """Return the value of `key` and count it as used, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, items: Iterable[tuple[Hashable, Value]]) -> None:
        """Remember values. When there are more than `size`, the least recently used ones are forgotten."""
        with self._lock:
            for key, value in items:
                self._values[key] = value
                self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)

    def holds(self, value: Value) -> bool:
        """Return whether a remembered value equals `value`. It looks at each of them."""
        with self._lock:
            return value in self._values.values()

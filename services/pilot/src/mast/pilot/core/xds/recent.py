"""Results over long-lived objects, kept while they are used."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Recent:
    """Results over long-lived objects, forgotten after two generations without use.

    A key may contain the `id` of objects as long as these are given as `anchors`, which keep them
    alive as long as the result.
    """

    def __init__(self) -> None:
        self._young: dict[Any, tuple[object, Any]] = {}
        self._old: dict[Any, tuple[object, Any]] = {}

    def age(self) -> None:
        """Begin a generation."""
        self._old, self._young = self._young, {}

    def young(self) -> Iterator[Any]:
        """Results used in this generation."""
        return (result for _, result in self._young.values())

    def recall(self, key: object) -> Any | None:
        """The result kept under the key, None if there is none."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self._young[key] = entry
        return entry[1]

    def keep(self, key: object, anchors: object, result: T) -> T:
        """Keep a result, which is returned."""
        self._young[key] = (anchors, result)
        return result

    def get(self, key: object, anchors: object, make: Callable[[], T]) -> T:
        """The result kept under the key, made if there is none."""
        found: T | None = self.recall(key)
        return self.keep(key, anchors, make()) if found is None else found

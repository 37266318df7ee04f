"""One short name for all of a set of keys and values."""

from __future__ import annotations

from hashlib import blake2b

_BYTES = 8


class Fingerprint:
    """Equal for equal keys and values, in whatever order they came; else almost surely different.

    A change costs the same however many there are.
    """

    def __init__(self) -> None:
        self._parts: dict[str, int] = {}
        self._all = 0

    def put(self, key: str, value: bytes | None) -> None:
        """Take in the value of a key, None if it is gone."""
        self._all ^= self._parts.pop(key, 0)
        if value is not None:
            # A digest as key parts key and value, whatever is in them.
            digest = blake2b(value, digest_size=_BYTES, key=blake2b(key.encode()).digest())
            self._parts[key] = int.from_bytes(digest.digest())
            self._all ^= self._parts[key]

    def __str__(self) -> str:
        return f"{self._all:0{2 * _BYTES}x}"

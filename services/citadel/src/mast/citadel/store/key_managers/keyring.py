"""The key managers of one Citadel: the one that makes new keys, and all that keep older ones."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mast.citadel.core.keys import PrivateKey, key_name
from mast.citadel.core.records import STORED_HERE
from mast.citadel.core.remote_keys import KeyUnavailable
from mast.common.identity.ca_client import new_private_key


@dataclass(frozen=True)
class NewKey:
    """A key, and its name where its manager keeps it ("": nowhere but in the record)."""

    key: PrivateKey
    id: str = ""


class KeyManager(Protocol):
    """Makes keys and keeps them. Those of a device sign there: their `private_bytes` fail."""

    async def create(self, algorithm: str) -> NewKey:
        """A new key of one of the CA's algorithms. Raises KeyUnavailable."""
        ...

    async def load(self, name: str) -> PrivateKey | None:
        """The key of that name, None if it is lost for good. Raises KeyUnavailable."""
        ...

    async def destroy(self, name: str) -> None:
        """Forget a key; one that is not there is forgotten already. Raises KeyUnavailable."""
        ...


class StoredKeys:
    """Keys in the authority's own record, which is sealed in etcd: shared by all replicas."""

    async def create(self, algorithm: str) -> NewKey:
        return NewKey(await asyncio.to_thread(new_private_key, algorithm))

    async def load(self, name: str) -> PrivateKey | None:
        raise KeyUnavailable(f"key {name!r} is not in the record")

    async def destroy(self, name: str) -> None:
        """The record that had it is gone already."""


@dataclass
class MemoryKeys:
    """Keys that end with the process: the next one makes a new CA. For one replica only."""

    _keys: dict[str, PrivateKey] = field(default_factory=dict)

    async def create(self, algorithm: str) -> NewKey:
        key = await asyncio.to_thread(new_private_key, algorithm)
        made = NewKey(key, key_name(key))
        self._keys[made.id] = key
        return made

    async def load(self, name: str) -> PrivateKey | None:
        return self._keys.get(name)

    async def destroy(self, name: str) -> None:
        self._keys.pop(name, None)


@dataclass(frozen=True)
class Keyring:
    """``current`` names the manager of ``managers`` that makes new keys."""

    managers: Mapping[str, KeyManager] = field(default_factory=lambda: {STORED_HERE: StoredKeys()})
    current: str = STORED_HERE

    async def create(self, algorithm: str) -> NewKey:
        """A new key. Raises KeyUnavailable."""
        return await self.managers[self.current].create(algorithm)

    async def load(self, manager: str, name: str) -> PrivateKey | None:
        """The key that a manager keeps, None if it is lost. Raises KeyUnavailable."""
        return await self._manager(manager).load(name)

    async def destroy(self, manager: str, name: str) -> None:
        """Forget a key. Raises KeyUnavailable."""
        await self._manager(manager).destroy(name)

    def _manager(self, name: str) -> KeyManager:
        found = self.managers.get(name)
        if found is None:
            there = ", ".join(sorted(self.managers))
            raise KeyUnavailable(f"a key is kept by {name!r}, and configured are {there}")
        return found

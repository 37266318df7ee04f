"""The self-signed authority in etcd: one for all replicas, its keys sealed (A1, A8).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from cryptography import x509
from google.protobuf.message import DecodeError

from mast.citadel.core.authority import Authority, Slot
from mast.citadel.core.keys import PrivateKey
from mast.citadel.core.records import Record, from_record, record
from mast.citadel.core.remote_keys import KeyUnavailable
from mast.citadel.core.sealing import (
    NONCE_BYTES,
    DamagedSeal,
    WrongSealingKey,
    seal,
    unseal,
)
from mast.citadel.store.key_managers.keyring import Keyring
from mast.common.backoff import Backoff
from mast.common.etcd import Change, Compare, Conflict, EtcdError, Put, Store
from mast.common.keys import CA, CA_RESTORING
from mastapi.citadel.v1 import citadel_pb2

log = structlog.get_logger()

T = TypeVar("T")

AUTHORITY_KEY = f"{CA}authority"


class UnusableAuthority(Exception):
    """The store holds an authority that cannot be used; a person must act."""


class BeingRestored(Exception):
    """A backup is being put back, and the authority in it is not there yet."""


@dataclass(frozen=True, kw_only=True)
class StoredAuthority:
    """Reads the authority of ``trust_domain`` and makes it if there is none.

    ``new_slot`` makes an active slot with a fresh root; ``key`` seals, ``keyring`` has the private
    keys that are not in the record; ``more_roots`` are trusted beside the stored ones.
    """

    store: Store
    key: bytes
    trust_domain: str
    new_slot: Callable[[], Awaitable[Slot]]
    entropy: Callable[[int], bytes]
    random: Callable[[], float]
    keyring: Keyring = field(default_factory=Keyring)
    more_roots: tuple[x509.Certificate, ...] = ()

    async def load_or_create(self) -> tuple[Authority, bytes]:
        """The authority that all replicas share, and its record.

        Raises UnusableAuthority if another key is needed or the record is damaged, EtcdError if
        etcd does not answer, KeyUnavailable if a key manager does not, BeingRestored if none may be
        made.
        """
        while True:
            entry = await self.store.get(AUTHORITY_KEY)
            if entry is not None:
                return await self._open(entry.value, entry.mod_revision), entry.value
            authority = Authority(self.trust_domain, (await self.new_slot(),))
            try:
                stored = await self._first(self._sealed(authority))
            except BeingRestored:
                await self.forget(authority.active)
                raise
            if not stored:
                await self.forget(authority.active)
                continue  # another replica was faster: its authority counts
            log.info("authority.created", trust_domain=self.trust_domain, slot=authority.active.id)

    async def _first(self, record: bytes) -> bool:
        """Store a record where there is none; False if there is one. Raises BeingRestored."""
        nothing = [Compare.absent(AUTHORITY_KEY), Compare.absent(CA_RESTORING)]
        if (await self.store.txn(nothing, [Put(AUTHORITY_KEY, record)])).succeeded:
            return True
        if await self.store.get(AUTHORITY_KEY) is None:
            raise BeingRestored(f"a backup is being put back ({CA_RESTORING})")
        return False

    async def current(self) -> Authority:
        """The authority as it is stored now. Raises as `load_or_create`, and if there is none."""
        return (await self._stored())[0]

    async def change(self, transition: Callable[[Authority], Authority]) -> Authority:
        """Put what ``transition`` makes of the stored authority in its place; one replica wins.

        The transition is made anew of what another replica stored meanwhile; its exceptions are
        raised. Nothing is in force before it is stored: a store that fails leaves all as it was.
        """
        while True:
            authority, revision = await self._stored()
            changed = transition(authority)
            if changed is authority:
                return authority
            try:
                stored = await self.store.compare_and_swap(
                    AUTHORITY_KEY, self._sealed(changed), revision
                )
            except Conflict:
                continue
            kept = {slot.id for slot in changed.slots}
            for slot in authority.slots:
                if slot.id not in kept:
                    await self.forget(slot)
            return replace(changed, revision=stored)

    async def forget(self, slot: Slot) -> None:
        """Destroy the key of a slot that is gone; a key manager that fails is only told of."""
        if not slot.key_id:
            return
        try:
            await self.keyring.destroy(slot.key_manager, slot.key_id)
        except KeyUnavailable as error:
            log.warning("key.not_destroyed", slot=slot.id, key=slot.key_id, error=str(error))

    async def _stored(self) -> tuple[Authority, int]:
        entry = await self.store.get(AUTHORITY_KEY)
        if entry is None:
            raise UnusableAuthority(f"{AUTHORITY_KEY} is not in the store")
        return await self._open(entry.value, entry.mod_revision), entry.mod_revision

    def _sealed(self, authority: Authority) -> bytes:
        sealed = seal(record(authority), self.key, self.entropy(NONCE_BYTES))
        return sealed.SerializeToString()

    async def changes(self) -> AsyncGenerator[Authority, None]:
        """The authority, as soon as etcd answers, then every other that replaces it in the store.

        Raises UnusableAuthority if the first cannot be opened. A later one that cannot be
        opened is logged, and the last good one stays in force. If the record is lost, it is put
        back: a mesh must not get another CA because its store was emptied.
        """
        authority, held = await self._patiently(self.load_or_create)
        yield authority
        async with aclosing(self.store.follow_key(AUTHORITY_KEY)) as batches:
            async for batch in batches:
                change = batch.changes[-1] if batch.changes else None
                if change is None or change.value is None:
                    await self._patiently(partial(self._restore, held))
                    continue
                found = await self._replacement(change, authority, held)
                if found is not None:
                    authority, held = found, change.value
                    yield authority

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=60))
        waiting = False
        while True:
            try:
                return await work()
            except (EtcdError, KeyUnavailable, BeingRestored) as error:
                if not waiting:
                    log.warning("authority.unavailable", key=AUTHORITY_KEY, error=str(error))
                waiting = True
                await asyncio.sleep(backoff.next(self.random()).total_seconds())

    async def _restore(self, held: bytes) -> None:
        # If there is one again, the follower will tell.
        if await self._first(held):
            log.warning("authority.restored", key=AUTHORITY_KEY)

    async def _replacement(
        self, change: Change, authority: Authority, held: bytes
    ) -> Authority | None:
        """What the store has instead of an authority; None if it has nothing else."""
        value, revision = change.value or b"", change.mod_revision
        if value == held:  # put back, perhaps
            other = revision != authority.revision
            return replace(authority, revision=revision) if other else None
        try:
            return await self._patiently(partial(self._open, value, revision))
        except UnusableAuthority as error:
            log.error("authority.rejected", key=AUTHORITY_KEY, error=str(error))
            return None

    async def _open(self, value: bytes, revision: int) -> Authority:
        try:
            stored = unseal(citadel_pb2.SealedAuthority.FromString(value), self.key)
            keys = [await self._kept(slot) for slot in stored.slots]
            authority = from_record(stored, self.more_roots, keys)
        except (WrongSealingKey, DamagedSeal) as error:
            raise UnusableAuthority(str(error)) from error
        except (ValueError, DecodeError) as error:
            raise UnusableAuthority(f"{AUTHORITY_KEY} is no authority: {error}") from error
        # Renaming a mesh keeps its CA: certificates carry the configured trust domain.
        return replace(authority, trust_domain=self.trust_domain, revision=revision)

    async def _kept(self, slot: Record.Slot) -> PrivateKey | None:
        """The key that is not in the record."""
        if slot.private_key_pem:
            return None
        return await self.keyring.load(slot.key_manager, slot.key_id)

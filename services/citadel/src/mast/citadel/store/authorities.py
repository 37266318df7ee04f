"""The self-signed authority in etcd: one for all replicas, its keys sealed (A1, A8).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from cryptography import x509
from google.protobuf.message import DecodeError

from mast.citadel.core.authority import Authority, Slot, from_record, record
from mast.citadel.core.sealing import (
    NONCE_BYTES,
    DamagedSeal,
    WrongSealingKey,
    seal,
    unseal,
)
from mast.common.backoff import Backoff
from mast.common.etcd import Conflict, EtcdError, Store
from mast.common.keys import CA
from mastapi.citadel.v1 import citadel_pb2

log = structlog.get_logger()

T = TypeVar("T")

AUTHORITY_KEY = f"{CA}authority"


class UnusableAuthority(Exception):
    """The store holds an authority that cannot be used; a person must act."""


@dataclass(frozen=True, kw_only=True)
class StoredAuthority:
    """Reads the authority of ``trust_domain`` and makes it if there is none.

    ``new_slot`` makes an active slot with a fresh root; ``key`` seals; ``more_roots`` are trusted
    beside the stored ones.
    """

    store: Store
    key: bytes
    trust_domain: str
    new_slot: Callable[[], Slot]
    entropy: Callable[[int], bytes]
    random: Callable[[], float]
    more_roots: tuple[x509.Certificate, ...] = ()

    async def load_or_create(self) -> tuple[Authority, bytes]:
        """The authority that all replicas share, and its record.

        Raises UnusableAuthority if another key is needed or the record is damaged, EtcdError if
        etcd does not answer.
        """
        while True:
            entry = await self.store.get(AUTHORITY_KEY)
            if entry is not None:
                return self._open(entry.value), entry.value
            authority = Authority(self.trust_domain, (self.new_slot(),))
            sealed = seal(record(authority), self.key, self.entropy(NONCE_BYTES))
            try:
                await self.store.compare_and_swap(AUTHORITY_KEY, sealed.SerializeToString(), 0)
            except Conflict:
                continue  # another replica was faster: its authority counts
            log.info("authority.created", trust_domain=self.trust_domain, key_id=sealed.key_id)

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
                value = batch.changes[-1].value if batch.changes else None
                if value is None:
                    await self._patiently(partial(self._restore, held))
                elif value != held and (replacement := self._replacement(value)) is not None:
                    held = value
                    yield replacement

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=60))
        waiting = False
        while True:
            try:
                return await work()
            except EtcdError as error:
                if not waiting:
                    log.warning("authority.unavailable", key=AUTHORITY_KEY, error=str(error))
                waiting = True
                await asyncio.sleep(backoff.next(self.random()).total_seconds())

    async def _restore(self, held: bytes) -> None:
        try:
            await self.store.compare_and_swap(AUTHORITY_KEY, held, 0)
        except Conflict:
            return  # there is one again, and the follower will tell
        log.warning("authority.restored", key=AUTHORITY_KEY)

    def _replacement(self, value: bytes) -> Authority | None:
        try:
            return self._open(value)
        except UnusableAuthority as error:
            log.error("authority.rejected", key=AUTHORITY_KEY, error=str(error))
            return None

    def _open(self, value: bytes) -> Authority:
        try:
            stored = unseal(citadel_pb2.SealedAuthority.FromString(value), self.key)
            authority = from_record(stored, self.more_roots)
        except (WrongSealingKey, DamagedSeal) as error:
            raise UnusableAuthority(str(error)) from error
        except (ValueError, DecodeError) as error:
            raise UnusableAuthority(f"{AUTHORITY_KEY} is no authority: {error}") from error
        # Renaming a mesh keeps its CA: certificates carry the configured trust domain.
        return replace(authority, trust_domain=self.trust_domain)

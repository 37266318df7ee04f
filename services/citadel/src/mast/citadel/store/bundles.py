"""The trust bundles in etcd, for Pilot, agents and the other services (A8.3)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from cryptography import x509

from mast.citadel.core.authority import Authority
from mast.citadel.core.bundle import Bundle, foreign_bundle, next_bundle
from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.common.etcd import Compare, Conflict, Entry, Put, Store
from mast.common.keys import TRUST, trust_key
from mast.common.latest import Latest

log = structlog.get_logger()

Others = Mapping[str, frozenset[x509.Certificate]]
"""Roots by trust domain that are not our CA's; those of our own domain are trusted beside them."""


class OutOfDate(Exception):
    """The authority that a bundle was made of has been replaced."""


async def nobody() -> Others:
    """There are no other CAs."""
    return {}


@dataclass(frozen=True)
class Bundles:
    """Publishes what the authority and ``others`` say; replicas may all do so at once.

    ``others`` waits until it is known: what is published must not vanish when a replica starts.
    """

    store: Store
    others: Callable[[], Awaitable[Others]] = nobody

    async def publish(self, authority: Authority) -> None:
        """Make the stored bundles say what is trusted now, our own first.

        Raises EtcdError if etcd does not answer, CaNotReady if a revocation list cannot be signed.
        """
        own = authority.trust_domain
        others = await self.others()
        of_ours = others.get(own, frozenset())
        # A replica that was asleep must not publish what it remembers over what is newer.
        newest = [Compare.unchanged(AUTHORITY_KEY, authority.revision)] * bool(authority.revision)
        try:
            await self._put(own, lambda stored: next_bundle(authority, stored, of_ours), newest)
        except OutOfDate:
            log.info("bundle.out_of_date", revision=authority.revision)
            return
        listing = await self.store.list(TRUST)
        known = {each.key: each for each in listing.entries if each.key != trust_key(own)}
        for domain, roots in others.items():
            if domain != own and roots:
                await self._put(domain, _foreign(domain, roots))
                known.pop(trust_key(domain), None)
        for gone in known.values():
            await self._withdraw(gone)

    async def follow(self, trust_domain: str, bundle: Latest[Bundle | None]) -> None:
        """Keep ``bundle`` as it is published of a trust domain, for ever."""
        async with aclosing(self.store.follow_key(trust_key(trust_domain))) as batches:
            async for batch in batches:
                for change in batch.changes:
                    if change.value is not None:
                        bundle.publish(Bundle.FromString(change.value))

    async def published(self, trust_domain: str) -> Bundle:
        """What is published of a trust domain; an empty bundle if that is nothing."""
        entry = await self.store.get(trust_key(trust_domain))
        return Bundle.FromString(entry.value) if entry else Bundle(trust_domain=trust_domain)

    async def _put(
        self,
        domain: str,
        make: Callable[[Bundle | None], Bundle | None],
        guards: Sequence[Compare] = (),
    ) -> None:
        """Raises OutOfDate if a guard does not hold, and there is something to publish."""
        key = trust_key(domain)
        while True:
            entry = await self.store.get(key)
            bundle = make(Bundle.FromString(entry.value) if entry else None)
            if bundle is None:
                return
            unchanged = Compare.unchanged(key, entry.mod_revision if entry else 0)
            put = Put(key, bundle.SerializeToString())
            if not (await self.store.txn([unchanged, *guards], [put])).succeeded:
                if guards and not (await self.store.txn(guards, [])).succeeded:
                    raise OutOfDate(key)
                continue
            log.info("bundle.published", key=key, roots=len(bundle.roots), sequence=bundle.sequence)
            return

    async def _withdraw(self, entry: Entry) -> None:
        try:
            await self.store.delete(entry.key, expected=entry.mod_revision)
        except Conflict:
            return  # another replica knows better
        log.info("bundle.withdrawn", key=entry.key)


def _foreign(
    domain: str, roots: frozenset[x509.Certificate]
) -> Callable[[Bundle | None], Bundle | None]:
    return lambda stored: foreign_bundle(domain, roots, stored)

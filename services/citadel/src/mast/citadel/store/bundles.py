"""The trust bundle of our trust domain in etcd, for Pilot and the other services (A8.3)."""

import structlog

from mast.citadel.core.authority import Authority
from mast.citadel.core.bundle import next_bundle
from mast.common.etcd import Conflict, Store
from mast.common.keys import trust_key
from mastapi.trust.v1 import trust_pb2

log = structlog.get_logger()


async def publish_bundle(store: Store, authority: Authority) -> None:
    """Make the stored bundle say what the authority trusts; replicas may all do so at once.

    Raises EtcdError if etcd does not answer.
    """
    key = trust_key(authority.trust_domain)
    while True:
        entry = await store.get(key)
        stored = trust_pb2.TrustBundle.FromString(entry.value) if entry else None
        bundle = next_bundle(authority, stored)
        if bundle is None:
            return
        expected = entry.mod_revision if entry else 0
        try:
            await store.compare_and_swap(key, bundle.SerializeToString(), expected)
        except Conflict:
            continue
        log.info("bundle.published", key=key, roots=len(bundle.roots), sequence=bundle.sequence)
        return

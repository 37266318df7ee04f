"""What Citadel publishes of the mesh's trust, as Kubernetes is told (A8.3, A9).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import structlog

from mast.common.etcd import Store
from mast.common.keys import trust_key
from mast.common.latest import Latest
from mast.galley.core.root_maps import Trust, joined
from mastapi.trust.v1 import trust_pb2

log = structlog.get_logger()


async def follow_trust(
    store: Store, trust_domain: str, trust: Latest[Trust | None], changed: Callable[[], None]
) -> None:
    """Publish every bundle of a trust domain and say so, for ever; a lost one stays in force."""
    async with aclosing(store.follow_key(trust_key(trust_domain))) as batches:
        async for batch in batches:
            value = batch.changes[-1].value if batch.changes else None
            if value is None:
                continue
            bundle = trust_pb2.TrustBundle.FromString(value)
            found = Trust(joined(root.pem for root in bundle.roots), bundle.crl_pem)
            if found != trust.value:
                log.info("kubernetes.trust", roots=len(bundle.roots), crl=bool(found.crl_pem))
                trust.publish(found)
                changed()

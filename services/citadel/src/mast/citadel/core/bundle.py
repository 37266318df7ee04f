"""The trust bundle that Citadel publishes for its trust domain (citadel-and-agent.md A8)."""

from cryptography import x509

from mast.citadel.core.authority import Authority, State, pem
from mastapi.trust.v1 import trust_pb2

_STATES = {
    State.PREPARED: trust_pb2.Root.PREPARED,
    State.ACTIVE: trust_pb2.Root.ACTIVE,
    State.OLD: trust_pb2.Root.OLD,
}


def next_bundle(
    authority: Authority, stored: trust_pb2.TrustBundle | None
) -> trust_pb2.TrustBundle | None:
    """The bundle to publish instead of ``stored``; None if that says the same already.

    The sequence rises with every change (SPIFFE bundle, "spiffe_sequence").
    """
    states = {root: slot.state for slot in authority.slots for root in slot.roots}
    states |= dict.fromkeys(authority.active.roots, State.ACTIVE)
    bundle = trust_pb2.TrustBundle(
        trust_domain=authority.trust_domain,
        roots=[_root(root, states.get(root, State.ACTIVE)) for root in authority.roots],
        sequence=stored.sequence if stored else 0,
    )
    if bundle == stored:
        return None
    bundle.sequence += 1
    return bundle


def _root(certificate: x509.Certificate, state: State) -> trust_pb2.Root:
    root = trust_pb2.Root(pem=pem(certificate), state=_STATES[state])
    root.not_before.FromDatetime(certificate.not_valid_before_utc)
    root.not_after.FromDatetime(certificate.not_valid_after_utc)
    return root

"""The trust bundles that Citadel publishes: our own, and those of domains that we know (A8.3).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Iterable, Mapping

from cryptography import x509

from mast.citadel.core.authority import Authority, State, pem
from mast.citadel.core.revocation import crl_pem
from mastapi.trust.v1 import trust_pb2

Bundle = trust_pb2.TrustBundle

_STATES = {
    State.PREPARED: trust_pb2.Root.PREPARED,
    State.ACTIVE: trust_pb2.Root.ACTIVE,
    State.OLD: trust_pb2.Root.OLD,
}


def next_bundle(
    authority: Authority, stored: Bundle | None, others: Iterable[x509.Certificate] = ()
) -> Bundle | None:
    """The bundle of our domain to publish instead of ``stored``; None if that says the same.

    ``others`` are roots of the same trust domain that are not ours. The sequence rises with every
    change (SPIFFE bundle, "spiffe_sequence"). Raises CaNotReady if a list cannot be signed.
    """
    states = _states(authority)
    roots = sorted({*authority.roots, *others}, key=pem)
    bundle = Bundle(
        trust_domain=authority.trust_domain,
        roots=[_root(root, states.get(root, trust_pb2.Root.ACTIVE)) for root in roots],
        crl_pem=crl_pem(authority, stored.crl_pem if stored else ""),
    )
    return _newer(bundle, stored)


def is_published(authority: Authority, stored: Bundle) -> bool:
    """Whether the stored bundle has every root of the authority in the state it is in."""
    states = _states(authority)
    told = {root.pem: root.state for root in stored.roots}
    return all(told.get(pem(root)) == state for root, state in states.items())


def foreign_bundle(
    domain: str, roots: Iterable[x509.Certificate], stored: Bundle | None
) -> Bundle | None:
    """The bundle of another trust domain to publish instead of ``stored``; None as above."""
    ordered = sorted(set(roots), key=pem)
    bundle = Bundle(
        trust_domain=domain, roots=[_root(root, trust_pb2.Root.ACTIVE) for root in ordered]
    )
    return _newer(bundle, stored)


def _states(authority: Authority) -> Mapping[x509.Certificate, trust_pb2.Root.State.ValueType]:
    states = {root: _STATES[slot.state] for slot in authority.slots for root in slot.roots}
    tainted = (root for slot in authority.slots if slot.tainted for root in slot.roots)
    states |= dict.fromkeys(tainted, trust_pb2.Root.TAINTED)
    return states | dict.fromkeys(authority.active.roots, trust_pb2.Root.ACTIVE)


def _newer(bundle: Bundle, stored: Bundle | None) -> Bundle | None:
    bundle.sequence = stored.sequence if stored else 0
    if bundle == stored:
        return None
    bundle.sequence += 1
    return bundle


def _root(certificate: x509.Certificate, state: trust_pb2.Root.State.ValueType) -> trust_pb2.Root:
    root = trust_pb2.Root(pem=pem(certificate), state=state)
    root.not_before.FromDatetime(certificate.not_valid_before_utc)
    root.not_after.FromDatetime(certificate.not_valid_after_utc)
    return root

"""Roots that vouch for callers (citadel-and-agent.md A8)."""

from mast.pilot.core.security.trust import pools
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle


def bundle(*roots: tuple[str, int]) -> TrustBundle:
    return TrustBundle(roots=[Root(pem=pem, state=state) for pem, state in roots])


def test_all_but_tainted_roots_vouch():
    found = pools(
        {
            "cluster.local": bundle(
                ("one\n", Root.PREPARED),
                ("two", Root.ACTIVE),
                ("three\n", Root.OLD),
                ("bad", Root.TAINTED),
            )
        }
    )
    assert found == {"cluster.local": b"one\ntwo\nthree\n"}


def test_a_domain_without_roots_is_not_trusted():
    assert pools({"a": bundle(), "b": bundle(("bad", Root.TAINTED))}) == {}

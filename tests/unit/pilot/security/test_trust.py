"""Roots that vouch for callers (citadel-and-agent.md A8)."""

from mast.pilot.core.security.trust import own_pools, pools
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle


def bundle(*roots: tuple[str, int]) -> TrustBundle:
    return TrustBundle(roots=[Root(pem=pem, state=state) for pem, state in roots])


def test_all_roots_vouch_as_long_as_they_are_in_the_bundle():
    """A tainted one too: whoever has a certificate of it must be able to ask for another."""
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
    assert found == {"cluster.local": b"one\ntwo\nthree\nbad\n"}


def test_a_domain_without_roots_is_not_trusted():
    assert pools({"a": bundle()}) == {}


def test_only_our_own_roots_vouch_for_those_who_speak_to_us():
    known = {"a": bundle(("ours", Root.ACTIVE)), "b": bundle(("theirs", Root.ACTIVE))}
    assert own_pools(known, ("a", "old-name", "b"), b"told") == {
        "a": b"ours\n",
        "old-name": b"ours\n",
    }, "b is another mesh: an alias for policies, and nobody we serve"
    assert own_pools({}, ("a", "old-name"), b"told") == {"a": b"told", "old-name": b"told"}

"""Who confirmed which trust bundle, counted (citadel-and-agent.md A8.5)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mast.pilot.core.xds.holders import SHOWN, Channel, Held, Holders, channel, confirmed
from mast.pilot.core.xds.resources import TBDS, resource
from mastapi.status.v1.status_pb2 import TrustStatus
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.fakes.pilot_views import FakeMesh
from tests.fakes.xds_streams import Stream

BUNDLES, ROOTS, NONE = Channel.BUNDLES, Channel.ROOTS, Channel.NONE


def told(holders: Holders, sequence: int = 9) -> TrustStatus:
    return holders.fill(TrustStatus(), sequence, str)


def counts(status: TrustStatus) -> tuple[dict[int, int], dict[int, int], int]:
    return (
        {each.sequence: each.count for each in status.holders},
        {each.sequence: each.count for each in status.roots_only},
        status.silent,
    )


def test_proxies_move_from_sequence_to_sequence() -> None:
    holders = Holders()
    assert holders.observe("a", Held(BUNDLES))
    assert holders.observe("b", Held(ROOTS, 3))
    assert holders.observe("c", Held(NONE))
    assert holders.observe("a", Held(BUNDLES, 4))
    assert not holders.observe("a", Held(BUNDLES, 4))
    assert counts(told(holders)) == ({4: 1}, {3: 1}, 1)
    assert holders.gone("b")
    assert not holders.gone("b")
    assert counts(told(holders)) == ({4: 1}, {}, 1)


def test_what_was_confirmed_stays_while_the_next_is_on_its_way() -> None:
    holders = Holders()
    holders.observe("a", Held(BUNDLES, 4))
    assert not holders.observe("a", Held(BUNDLES, 0))
    assert counts(told(holders)) == ({4: 1}, {}, 0)


def test_an_agent_of_ours_is_told_roots_first() -> None:
    """It subscribes to its ProxyConfig, and to bundles a moment later."""
    holders = Holders()
    holders.observe("a", Held(NONE))
    holders.observe("a", Held(ROOTS, 4))
    holders.observe("a", Held(BUNDLES))
    assert counts(told(holders)) == ({0: 1}, {}, 0)


def test_those_who_lag_are_named() -> None:
    holders = Holders()
    for number in range(30):
        holders.observe(f"web-{number:02}", Held(BUNDLES, 3 if number < 20 else 4))
    holders.observe("silent", Held(NONE))
    assert len(told(holders, 4).lagging) == SHOWN
    assert all(name < "web-20" for name in told(holders, 4).lagging)
    assert not told(holders, 3).lagging


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([BUNDLES, ROOTS]), st.integers(-1, 4)),
        max_size=40,
    )
)
def test_counts_are_those_of_all_that_are_connected(steps: list[tuple[int, Channel, int]]) -> None:
    holders, held = Holders(), dict[int, Held]()
    for proxy, by, sequence in steps:
        if sequence < 0:
            assert holders.gone(proxy) == (held.pop(proxy, None) is not None)
            continue
        holders.observe(proxy, Held(by, sequence))
        before = held.get(proxy)
        last = before.sequence if before is not None and before.channel is by else 0
        held[proxy] = Held(by, max(sequence, last))
    expected = Counter(held.values())
    bundles, roots, silent = counts(told(holders))
    assert silent == 0
    assert bundles == {h.sequence: n for h, n in expected.items() if h.channel is BUNDLES}
    assert roots == {h.sequence: n for h, n in expected.items() if h.channel is ROOTS}


def test_what_a_client_has_confirmed(mesh: FakeMesh) -> None:
    mesh.put(resource("a.example", TBDS, TrustBundle(trust_domain="a.example", sequence=12)))
    stream = Stream(mesh)
    state = stream.session.state
    assert confirmed(state, 0, 12) == Held(NONE)
    stream.ask("pcds")
    assert channel(state) is ROOTS
    (told,) = stream.ask("tbds")
    assert channel(state) is BUNDLES
    assert confirmed(state, 0, 12) == Held(BUNDLES, 0), "told, not answered"
    stream.ask("tbds", nonce=told.nonce)
    assert confirmed(state, 0, 12) == Held(BUNDLES, 12)
    assert confirmed(state, 1, 13) == Held(BUNDLES, 0), "it was not told of that state yet"


def test_a_client_that_rejects_holds_nothing_new(mesh: FakeMesh) -> None:
    mesh.put(resource("a.example", TBDS, TrustBundle(trust_domain="a.example", sequence=12)))
    stream = Stream(mesh)
    (told,) = stream.ask("tbds")
    stream.ask("tbds", nonce=told.nonce, error="no good")
    assert confirmed(stream.session.state, 0, 12) == Held(BUNDLES, 0)

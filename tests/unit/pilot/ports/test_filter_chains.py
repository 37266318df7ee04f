"""Filter chains that differ in what they match (pilot.md E6, N11)."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.pilot.core.filters.tcp_proxies import TCP_PROXY, to_cluster
from mast.pilot.core.packing import packed
from mast.pilot.core.ports.filter_chains import Chain, apart, distinct, filter_chain, filter_chains
from tests.support.envoy_server import validate
from tests.support.envoy_static import bootstrap, cluster
from tests.support.messages import plain, read

TO_A = Filter(name=TCP_PROXY, typed_config=packed(to_cluster("a")))


def chain(*, subnets: str = "", snis: str = "", alpns: str = "", port: int = 0) -> Chain:
    return Chain(
        filters=(TO_A,),
        subnets=tuple(subnets.split()),
        snis=tuple(snis.split()),
        alpns=tuple(alpns.split()),
        port=port,
    )


@pytest.mark.parametrize(
    ("new", "others", "snis", "subnets"),
    [
        pytest.param(chain(snis="a b"), [], "a b", "", id="nobody-there"),
        pytest.param(chain(snis="a b"), [chain(snis="c")], "a b", "", id="others"),
        pytest.param(chain(snis="a b"), [chain(snis="B")], "a", "", id="one-name-is-taken"),
        pytest.param(
            chain(subnets="10.0.0.0/8 172.16.0.0/12"),
            [chain(subnets="10.1.2.3/8")],
            "",
            "172.16.0.0/12",
            id="one-subnet-is-taken",
        ),
        pytest.param(
            chain(subnets="10.0.0.0/8", snis="a b"),
            [chain(subnets="10.0.0.0/8", snis="a")],
            "b",
            "10.0.0.0/8",
            id="name-within-a-subnet",
        ),
        pytest.param(
            chain(subnets="10.0.0.0/8 10.0.0.0/9", snis="a"),
            [chain(subnets="10.0.0.0/8", snis="a")],
            "a",
            "10.0.0.0/9",
            id="subnet-of-a-name",
        ),
    ],
)
def test_apart(new: Chain, others: list[Chain], snis: str, subnets: str) -> None:
    rest = apart(new, others)
    assert rest is not None
    assert (" ".join(rest.snis), " ".join(rest.subnets)) == (snis, subnets)


@pytest.mark.parametrize(
    ("new", "other"),
    [
        (chain(), chain()),
        (chain(snis="a"), chain(snis="a")),
        (chain(subnets="10.0.0.1"), chain(subnets="10.0.0.1/32")),
        (chain(alpns="x y"), chain(alpns="y")),
        (chain(port=1), chain(port=1)),
    ],
)
def test_nothing_is_left(new: Chain, other: Chain) -> None:
    assert apart(new, [other]) is None
    assert distinct([other, new]) == [other]


def test_different_ports_do_not_meet() -> None:
    assert distinct([chain(port=1), chain(port=2), chain()]) == [
        chain(port=1),
        chain(port=2),
        chain(),
    ]


def test_message() -> None:
    made = filter_chain(
        Chain(
            name="n",
            filters=(TO_A,),
            port=80,
            subnets=("10.0.0.0/8", "10.9.9.9/8", "::1"),
            snis=("A.test", "a.test"),
            transport="tls",
            alpns=("h2",),
            transport_socket=TransportSocket(name="t"),
        )
    )
    made.ClearField("filters")
    assert plain(made) == read("""
        name: n
        filter_chain_match:
          destination_port: 80
          prefix_ranges:
          - {address_prefix: 10.0.0.0, prefix_len: 8}
          - {address_prefix: '::1', prefix_len: 128}
          server_names: [a.test]
          transport_protocol: tls
          application_protocols: [h2]
        transport_socket: {name: t}
    """)


def test_message_without_criteria() -> None:
    assert plain(filter_chain(Chain(filters=()))) == {}
    assert Chain(filters=()).matches_everything
    assert not chain(port=1).matches_everything


words = st.lists(st.sampled_from(["a.test", "A.test", "*.b.test", "c"]), max_size=3)
networks = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/8", "10.0.0.1", "::/0"]), max_size=3)
chains = st.builds(
    lambda subnets, snis, transport: Chain(
        filters=(TO_A,), subnets=tuple(subnets), snis=tuple(snis), transport=transport
    ),
    networks,
    words,
    st.sampled_from(["", "tls", "raw_buffer"]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(chains, min_size=1, max_size=6))
def test_envoy_accepts_distinct_chains(many: list[Chain]) -> None:
    """Whatever is asked for, no combination leads to two chains."""
    listener = Listener(name="l", filter_chains=filter_chains(many))
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    with TemporaryDirectory() as directory:
        validate(bootstrap([listener], [cluster("a", 1)]), Path(directory))

"""Tables of listener and chain decisions; generated ones are compared with Envoy elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import ParseDict

from mast.cli.explain import chains
from mast.cli.explain.traffic import HTTP_1, TLS, Connection
from mast.common.envoy.matchers import NotUnderstood

ANY = "0.0.0.0"  # noqa: S104 - it is compared, nobody binds to it


def at(name: str, address: str, port: int = 80, **more: Any) -> Listener:
    socket = {"address": address, "portValue": port, **more.pop("socket", {})}
    return ParseDict({"name": name, "address": {"socketAddress": socket}, **more}, Listener())


def connection(address: str = "10.0.0.1", port: int = 80, **more: Any) -> Connection:
    return Connection(address=address, port=port, source_address="192.0.2.1", **more)


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        pytest.param("10.0.0.1", 80, "exact", id="exact"),
        pytest.param("10.0.0.2", 80, "any", id="any"),
        pytest.param("fd00::1", 80, "any6", id="any-of-ipv6"),
        pytest.param("10.0.0.2", 81, "both", id="ipv6-takes-ipv4"),
        pytest.param("10.0.0.2", 82, "first", id="stays"),
    ],
)
def test_handed_over(address: str, port: int, name: str) -> None:
    first = at("first", ANY, 15001, useOriginalDst=True)
    listeners = [
        first,
        at("any", ANY),
        at("exact", "10.0.0.1"),
        at("any6", "::"),
        at("both", "::", 81, socket={"ipv4Compat": True}),
        at("v6", "::", 82),
    ]
    assert chains.handed_over(listeners, first, connection(address, port)).name == name


def test_only_a_listener_that_asks_for_it_hands_over() -> None:
    first = at("first", ANY, 15006)
    assert chains.handed_over([at("exact", "10.0.0.1")], first, connection()) is first


def test_only_bound_listeners_can_be_dialled() -> None:
    listeners = [at("captured", "10.0.0.1", bindToPort=False), at("any", ANY)]
    found = chains.bound_to(listeners, "10.0.0.1", 80)
    assert found is not None
    assert found.name == "any"
    assert chains.bound_to(listeners, "10.0.0.1", 81) is None


def inspected(name: str, **disabled: Any) -> Listener:
    each = {"name": name, **({"filterDisabled": disabled} if disabled else {})}
    return at("l", ANY, listenerFilters=[each])


PORT_80 = {"destinationPortRange": {"start": 80, "end": 81}}


@pytest.mark.parametrize(
    ("listener", "made", "expected"),
    [
        pytest.param(
            inspected(chains.TLS_INSPECTOR),
            {"transport": TLS, "server_name": "A.test", "alpns": ("h2",)},
            ("tls", "a.test", ("h2",)),
            id="tls",
        ),
        pytest.param(
            inspected(chains.HTTP_INSPECTOR), {"transport": TLS}, ("", "", ()), id="not-inspected"
        ),
        pytest.param(
            inspected(chains.HTTP_INSPECTOR),
            {"speaks": HTTP_1},
            ("raw_buffer", "", ("http/1.1",)),
            id="http",
        ),
        pytest.param(
            inspected(chains.HTTP_INSPECTOR, **PORT_80),
            {"speaks": HTTP_1},
            ("raw_buffer", "", ()),
            id="switched-off",
        ),
        pytest.param(
            inspected(chains.HTTP_INSPECTOR, notMatch=PORT_80),
            {"speaks": HTTP_1},
            ("raw_buffer", "", ("http/1.1",)),
            id="switched-off-elsewhere",
        ),
        pytest.param(
            inspected(
                chains.HTTP_INSPECTOR,
                orMatch={"rules": [{"andMatch": {"rules": [PORT_80, {"anyMatch": True}]}}]},
            ),
            {"speaks": HTTP_1},
            ("raw_buffer", "", ()),
            id="nested",
        ),
    ],
)
def test_seen(listener: Listener, made: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = chains.seen(listener, connection(**made))
    assert (found.transport, found.server_name, found.alpns) == expected


def test_chains_by_port_have_no_way_back() -> None:
    tls = {"destinationPort": 80, "transportProtocol": "tls"}
    listener = at(
        "l", ANY, filterChains=[{"name": "port", "filterChainMatch": tls}, {"name": "all"}]
    )
    assert chains.filter_chain(listener, connection()) is None
    found = chains.filter_chain(listener, connection(port=81))
    assert found is not None
    assert found.name == "all"
    listener.default_filter_chain.name = "default"
    default = chains.filter_chain(listener, connection())
    assert default is not None
    assert default.name == "default"


def test_chains_by_source() -> None:
    def chain(name: str, **match: Any) -> dict[str, Any]:
        return {"name": name, "filterChainMatch": match}

    near = {"addressPrefix": "192.0.2.0", "prefixLen": 24}
    listener = at(
        "l",
        ANY,
        filterChains=[
            chain("local", sourceType="SAME_IP_OR_LOOPBACK"),
            chain("port", sourcePrefixRanges=[near], sourcePorts=[7]),
            chain("near", sourcePrefixRanges=[near]),
            chain("far"),
        ],
    )
    asked = {
        "local": {"address": "192.0.2.1"},
        "port": {"source_port": 7},
        "near": {"source_port": 8},
    }
    for name, made in asked.items():
        found = chains.filter_chain(listener, connection(**made))
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    "listener",
    [
        pytest.param(at("l", ANY, filterChainMatcher={}), id="tree"),
        pytest.param(
            at("l", ANY, listenerFilters=[{"name": "x", "filterDisabled": {}}]), id="predicate"
        ),
    ],
)
def test_what_cannot_be_told(listener: Listener) -> None:
    with pytest.raises(NotUnderstood):
        chains.filter_chain(listener, connection())

"""Columns of listeners and routes, and their filters."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.cli.inspect.dump import Dump, read
from mast.cli.inspect.listeners import listeners, match_text, routes
from tests.support.envoy_dumps import NODE, configuration, dump_of

ANY = "0.0.0.0"  # noqa: S104 - it is compared, nobody binds to it
TLS_ROUTE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: secure},
 spec: {hosts: [one.test], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: secure},
 spec: {hosts: [one.test], tls: [{match: [{sniHosts: [one.test]}],
        route: [{destination: {host: one.test}, weight: 1},
                {destination: {host: reviews}, weight: 3}]}]}}
"""


def test_rows_of_a_sidecar() -> None:
    rows = listeners(read(dump_of(configuration()))).rows
    assert rows[:4] == [
        [ANY, "9080", "Trans: raw_buffer; App: http/1.1,h2c", "Route: 9080"],
        [ANY, "9080", "ALL", "PassthroughCluster"],
        [ANY, "15001", "Addr: *:15001", "BlackHoleCluster"],
        [ANY, "15001", "ALL", "PassthroughCluster"],
    ]
    assert [ANY, "15006", "Addr: *:9080; Trans: tls", "Inline Route: /*"] in rows


def test_weighted_clusters_and_server_names() -> None:
    rows = listeners(read(dump_of(configuration(NODE, TLS_ROUTE))), port=443).rows
    assert rows[0][2] == "SNI: one.test"
    assert rows[0][3].startswith("Cluster: outbound|443||one.test (1), outbound|9080||reviews")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        pytest.param({"kind": "http+tcp"}, {"0.0.0.0_9080", "virtualInbound"}, id="kind"),
        pytest.param({"kind": "tcp"}, {"virtualOutbound"}, id="tcp"),
        pytest.param({"port": 15006}, {"virtualInbound"}, id="port"),
        pytest.param({"address_": "10.0.0.1"}, set(), id="address"),
    ],
)
def test_listener_filters(wanted: dict[str, Any], names: set[str]) -> None:
    found = listeners(read(dump_of(configuration())), **wanted)
    assert {each["name"] for each in found.data} == names


@pytest.mark.parametrize(
    ("match", "text"),
    [
        pytest.param(FilterChainMatch(), "ALL", id="all"),
        pytest.param(
            FilterChainMatch(
                prefix_ranges=[
                    {"address_prefix": "10.0.0.1", "prefix_len": {"value": 32}},
                    {"address_prefix": "10.1.0.0", "prefix_len": {"value": 16}},
                ]
            ),
            "Addr: 10.0.0.1,10.1.0.0/16",
            id="addresses",
        ),
    ],
)
def test_match_text(match: FilterChainMatch, text: str) -> None:
    assert match_text(match) == text


def test_routes() -> None:
    rows = routes(read(dump_of(configuration()))).rows
    host = "reviews.default.svc.cluster.local"
    row = ["9080", f"{host}:9080", f"{host}, {host}. + 4 more...", "/*", "reviews.default"]
    assert rows == [row, row, ["9080", "allow_any", "*", "/*", ""]]
    assert routes(read(dump_of(configuration())), name="80").rows == []


@pytest.mark.parametrize(
    ("match", "text"),
    [
        pytest.param(RouteMatch(path="/a"), "/a", id="path"),
        pytest.param(RouteMatch(path_separated_prefix="/a"), "/a/*", id="segments"),
        pytest.param(RouteMatch(safe_regex={"regex": "/a.+"}), "regex /a.+", id="regex"),
        pytest.param(RouteMatch(connect_matcher={}), "CONNECT", id="connect"),
        pytest.param(RouteMatch(), "/*", id="unset"),
    ],
)
def test_route_match(match: RouteMatch, text: str) -> None:
    made = RouteConfiguration(name="80")
    host = made.virtual_hosts.add(name="a", domains=["a"])
    host.routes.add(match=match, direct_response={"status": 404})
    made.virtual_hosts.add(name="empty", domains=["b"])
    assert routes(Dump(routes={"80": made})).rows == [
        ["80", "a", "a", text, "404"],
        ["80", "empty", "b", "/*", "404"],
    ]

"""Patches that would break an object are left out, and only these (pilot.md K1, N14)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.patches.application import applied
from mast.pilot.core.patches.clusters import patched_cluster
from mast.pilot.core.patches.conditions import Scene
from mast.pilot.core.patches.listeners import patched_listener
from mast.pilot.core.patches.patch import PatchSet
from mast.pilot.core.patches.record import Record
from mast.pilot.core.patches.soundness import faults
from tests.support.envoy_patches import EXTENSIONS, envoy_message, patches

SCENE = Scene(EnvoyFilter.SIDECAR_OUTBOUND)
MERGE = "{applyTo: CLUSTER, patch: {operation: MERGE, value: {%s}}}"


def change(cluster: Cluster, found: PatchSet, record: Record) -> Cluster | None:
    return patched_cluster(cluster, found, SCENE, record)


def test_what_nobody_patches_stays_the_same_object() -> None:
    cluster = envoy_message(Cluster, "{name: a}")
    none = patches("[{applyTo: CLUSTER, match: {cluster: {name: b}}, patch: {operation: REMOVE}}]")
    assert applied(cluster, none, change).message is cluster


def test_the_original_is_never_changed() -> None:
    cluster = envoy_message(Cluster, "{name: a}")
    result = applied(cluster, patches(f"[{MERGE % 'alt_stat_name: x'}]"), change)
    assert result.message == Cluster(name="a", alt_stat_name="x")
    assert cluster == Cluster(name="a")


def test_only_the_patch_that_breaks_the_object_is_left_out() -> None:
    broken = "type: STRICT_DNS"
    text = ", ".join(MERGE % each for each in ("alt_stat_name: x", broken, "connect_timeout: 3s"))
    cluster = envoy_message(Cluster, "{name: a, type: EDS, eds_cluster_config: {}}")
    result = applied(cluster, patches(f"[{text}]"), change)
    assert result.message is not None
    assert (result.message.type, result.message.alt_stat_name) == (Cluster.EDS, "x")
    assert result.message.connect_timeout.seconds == 3
    assert [each.name.place for each in result.applied] == [0, 2]
    (skipped,) = result.skipped
    assert skipped.patch.place == 1
    assert skipped.reason == (
        "Envoy would refuse the result: eds_cluster_config: goes with type EDS only"
    )


def test_an_object_that_is_wrong_already_can_be_patched() -> None:
    cluster = envoy_message(Cluster, "{name: ''}")
    result = applied(cluster, patches(f"[{MERGE % 'alt_stat_name: x'}]"), change)
    assert result.message == Cluster(alt_stat_name="x")


def test_a_removal_ends_everything() -> None:
    found = patches("[{applyTo: CLUSTER, patch: {operation: REMOVE}}]")
    assert applied(envoy_message(Cluster, "{name: a}"), found, change).message is None


NETWORK = f"{EXTENSIONS}.filters.network"
TCP = "{name: tcp, typed_config: {'@type': %s.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: a}}"
ECHO = "{name: echo, typed_config: {'@type': %s.echo.v3.Echo}}"
RBAC = "{name: rbac, typed_config: {'@type': %s.rbac.v3.RBAC, stat_prefix: a}}"
MANAGER = (
    "{name: hcm, typed_config: {'@type': %s.http_connection_manager.v3.HttpConnectionManager,"
    " stat_prefix: a, route_config: {virtual_hosts: [%s]}, http_filters: [%s]}}"
)
ROUTER = "{name: router, typed_config: {'@type': %s.filters.http.router.v3.Router}}" % EXTENSIONS
LUA = "{name: lua, typed_config: {'@type': %s.filters.http.lua.v3.Lua}}" % EXTENSIONS


def listener(*filters: str) -> str:
    shown = ", ".join(each % NETWORK if "%s" in each else each for each in filters)
    return "{name: a, filter_chains: [{filters: [%s]}]}" % shown


def manager(filters: str, hosts: str = "") -> str:
    return listener(MANAGER % (NETWORK, hosts, filters))


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        pytest.param(Listener, listener(RBAC, TCP), [], id="chain"),
        pytest.param(Listener, listener(TCP, RBAC),
                     ["filter 'tcp' must be the last, but 'rbac' is",
                      "filter 'rbac' must not be the last"], id="end-not-at-the-end"),
        pytest.param(Listener, listener(TCP, ECHO),
                     ["filter 'tcp' must be the last, but 'echo' is"], id="two-ends"),
        pytest.param(Listener, manager(f"{LUA}, {ROUTER}"), [], id="router-last"),
        pytest.param(Listener, manager(LUA), ["filter 'lua' must not be the last"],
                     id="no-router"),
        pytest.param(Listener, manager(""), ["http_filters: none is left"], id="no-http-filters"),
        pytest.param(Listener, manager(ROUTER, "{name: a, domains: [a, A]}"),
                     ["virtual_hosts: 2 have the domain 'a'"], id="inline-routes"),
        pytest.param(Listener, "{name: a}", ["filter_chains: none is left"], id="no-chain"),
        pytest.param(Listener, "{name: a, udp_listener_config: {}}", [], id="udp"),
        pytest.param(Listener, "{name: a, default_filter_chain: {}}", [], id="default-chain"),
        pytest.param(Listener, "{name: a, filter_chains: [{name: b}, {name: c}]}",
                     ["filter_chains: two of them match the same connections"],
                     id="equal-chains"),
        pytest.param(RouteConfiguration, "{virtual_hosts: [{name: a, domains: [x]},"
                     " {name: a, domains: [X]}]}",
                     ["virtual_hosts: 2 have the name 'a'",
                      "virtual_hosts: 2 have the domain 'x'"], id="equal-hosts"),
        pytest.param(Cluster, "{name: a, type: EDS, load_assignment: {cluster_name: a}}",
                     ["load_assignment: does not go with type EDS"], id="two-sources"),
        pytest.param(Cluster, "{name: a, type: ORIGINAL_DST}",
                     ["lb_policy: CLUSTER_PROVIDED goes with type ORIGINAL_DST, and only with it"],
                     id="policy"),
        pytest.param(Cluster, "{name: a, connect_timeout: 0s}",
                     ["connect_timeout: 0s is out of range; allowed: > 0s"], id="descriptor"),
    ],
)  # fmt: skip
def test_faults(kind: type[Message], text: str, found: list[str]) -> None:
    assert faults(envoy_message(kind, text)) == found


def test_a_filter_behind_the_router_is_left_out_of_the_listener() -> None:
    text = "[{applyTo: HTTP_FILTER, patch: {operation: %s, value: %s}}]"
    message = envoy_message(Listener, manager(ROUTER))

    def apply(each: Listener, found: PatchSet, record: Record) -> Listener | None:
        return patched_listener(each, found, SCENE, record)

    assert applied(message, patches(text % ("ADD", LUA)), apply).message == message
    assert applied(message, patches(text % ("INSERT_FIRST", LUA)), apply).applied

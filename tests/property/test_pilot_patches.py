"""Laws of patches: merging, order, and that nothing a patch does leaves an unsound resource."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import ParseDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.merging import merge
from mast.pilot.core.patches.application import applied
from mast.pilot.core.patches.clusters import patched_cluster
from mast.pilot.core.patches.conditions import Scene
from mast.pilot.core.patches.listeners import patched_listener
from mast.pilot.core.patches.patch import PatchSet, compiled, copied
from mast.pilot.core.patches.record import Record
from mast.pilot.core.patches.soundness import faults
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, LDS, RDS
from tests.support.envoy_patches import EXTENSIONS, config, envoy_message
from tests.support.golden_view import resources_of
from tests.support.mesh_yaml import changes, sidecar_proxy

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SCENE = Scene(EnvoyFilter.SIDECAR_OUTBOUND)
HCM = "envoy.filters.network.http_connection_manager"
HTTP = f"{EXTENSIONS}.filters.http"
NETWORK = f"{EXTENSIONS}.filters.network"
SECONDS = st.integers(0, 5).map(lambda n: f"{n}s")
NAMES = st.sampled_from(["a", "b", "router", "stats", "hcm"])


def fields(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


CHECK = st.fixed_dictionaries(
    {
        "timeout": SECONDS,
        "interval": SECONDS,
        "unhealthy_threshold": st.integers(0, 3),
        "healthy_threshold": st.integers(0, 3),
        "tcp_health_check": st.just({}),
    }
)
SOCKET = st.builds(
    lambda name, inner: {
        "name": name,
        "typed_config": {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
            **inner,
        },
    },
    st.sampled_from(["tls", "other"]),
    fields(sni=NAMES, max_session_keys=st.integers(0, 4)),
)
CLUSTERS = fields(
    type=st.sampled_from(["EDS", "STATIC", "STRICT_DNS", "ORIGINAL_DST"]),
    lb_policy=st.sampled_from(["ROUND_ROBIN", "CLUSTER_PROVIDED"]),
    connect_timeout=SECONDS,
    alt_stat_name=NAMES,
    health_checks=st.lists(CHECK, max_size=2),
    outlier_detection=fields(max_ejection_percent=st.integers(0, 120)),
    transport_socket=SOCKET,
    metadata=st.builds(
        lambda key, value: {"filter_metadata": {key: {"x": value}}}, NAMES, st.integers(0, 3)
    ),
)
HTTP_FILTER = st.builds(
    lambda name, kind: {"name": name, "typed_config": {"@type": f"{HTTP}.{kind}"}},
    NAMES,
    st.sampled_from(["lua.v3.Lua", "router.v3.Router", "cors.v3.Cors"]),
)
NETWORK_FILTER = st.sampled_from(
    [
        {"name": "e", "typed_config": {"@type": f"{NETWORK}.echo.v3.Echo"}},
        {"name": "r", "typed_config": {"@type": f"{NETWORK}.rbac.v3.RBAC", "stat_prefix": "x"}},
        {"name": "x", "typed_config": {"@type": f"{NETWORK}.rbac.v3.RBAC"}},
    ]
)
OPERATIONS = st.sampled_from(
    [name for name in EnvoyFilter.Patch.Operation.DESCRIPTOR.values_by_name if name != "INVALID"]
)


def change(
    apply_to: str, value: st.SearchStrategy[Any], match: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda operation, value, match: {
            "applyTo": apply_to,
            "match": match,
            "patch": {"operation": operation, "value": value},
        },
        OPERATIONS,
        value,
        match,
    )


ON_HTTP = st.sampled_from(["a", "b", "router", "stats"]).map(
    lambda name: {
        "listener": {"filterChain": {"filter": {"name": HCM, "subFilter": {"name": name}}}}
    }
)
ON_NETWORK = st.sampled_from(["hcm", "r"]).map(
    lambda name: {"listener": {"filterChain": {"filter": {"name": name}}}}
)
NO_MATCH: st.SearchStrategy[Any] = st.just({})
CLUSTER_CHANGES = st.lists(change("CLUSTER", CLUSTERS, NO_MATCH), max_size=4)
LISTENER_CHANGES = st.lists(
    change("HTTP_FILTER", HTTP_FILTER, NO_MATCH | ON_HTTP)
    | change("NETWORK_FILTER", NETWORK_FILTER, NO_MATCH | ON_NETWORK)
    | change("FILTER_CHAIN", fields(name=NAMES), NO_MATCH),
    max_size=5,
)
CLUSTER = envoy_message(
    Cluster, "{name: a, type: EDS, connect_timeout: 1s, eds_cluster_config: {}}"
)
LISTENER = envoy_message(
    Listener,
    f"""
name: l
filter_chains:
- name: one
  filters:
  - name: hcm
    typed_config:
      "@type": {NETWORK}.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: a
      route_config: {{}}
      http_filters:
      - {{name: stats, typed_config: {{"@type": {HTTP}.grpc_stats.v3.FilterConfig}}}}
      - {{name: router, typed_config: {{"@type": {HTTP}.router.v3.Router}}}}
""",
)


def patch_set(texts: list[dict[str, Any]]) -> PatchSet:
    return PatchSet(compiled(config({"configPatches": texts})).patches)


def clusters(cluster: Cluster, found: PatchSet, record: Record) -> Cluster | None:
    return patched_cluster(cluster, found, SCENE, record)


def listeners(listener: Listener, found: PatchSet, record: Record) -> Listener | None:
    return patched_listener(listener, found, SCENE, record)


@QUICK
@given(CLUSTERS, CLUSTERS, CLUSTERS)
def test_merging_in_steps_is_merging_what_was_merged(
    base: dict[str, Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    """Associative, as long as typed configurations keep their type: patches can be united."""
    first, second = (ParseDict(each, Cluster()) for each in (one, two))
    in_steps, at_once, united = ParseDict(base, Cluster()), ParseDict(base, Cluster()), Cluster()
    for each in (first, second):
        merge(in_steps, each)
        merge(united, each)
    merge(at_once, united)
    assert in_steps == at_once


@QUICK
@given(CLUSTERS, CLUSTERS)
def test_replacing_lists_twice_is_replacing_them_once(
    base: dict[str, Any], patch: dict[str, Any]
) -> None:
    once, change = ParseDict(base, Cluster()), ParseDict(patch, Cluster())
    merge(once, change, replace_lists=True)
    twice = copied(once)
    merge(twice, change, replace_lists=True)
    assert once == twice


@QUICK
@given(CLUSTERS)
def test_merging_nothing_changes_nothing(base: dict[str, Any]) -> None:
    message = ParseDict(base, Cluster())
    after = copied(message)
    merge(after, Cluster())
    assert after == message


@QUICK
@given(CLUSTER_CHANGES)
def test_a_sound_cluster_stays_sound(texts: list[dict[str, Any]]) -> None:
    result = applied(CLUSTER, patch_set(texts), clusters).message
    assert result is None or faults(result) == []


@QUICK
@given(LISTENER_CHANGES)
def test_a_sound_listener_stays_sound(texts: list[dict[str, Any]]) -> None:
    found = patch_set(texts)
    result = applied(LISTENER, found, listeners)
    assert result.message is None or faults(result.message) == []
    assert {each.name for each in result.applied}.isdisjoint(
        each.patch for each in result.skipped if "refuse" in each.reason
    )


@QUICK
@given(LISTENER_CHANGES)
def test_patches_that_were_left_out_might_as_well_not_exist(texts: list[dict[str, Any]]) -> None:
    found = patch_set(texts)
    result = applied(LISTENER, found, listeners)
    refused = {each.patch for each in result.skipped if "refuse" in each.reason}
    kept = PatchSet(tuple(each for each in found.patches if each.name not in refused))
    assert applied(LISTENER, kept, listeners).message == result.message


MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop, creationTimestamp: 2019-01-01T00:00:00Z}
spec:
  hosts: [web.test]
  addresses: [10.9.0.1]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
"""


def envoy_filters(groups: list[tuple[int, list[dict[str, Any]]]]) -> list[str]:
    """EnvoyFilters of equal age, one for each group of patches with its priority."""
    return [
        f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f{index}, namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z}}
spec: {{priority: {priority}, configPatches: {patches}}}
"""
        for index, (priority, patches) in enumerate(groups)
    ]


GROUPS = st.lists(st.tuples(st.integers(-1, 1), CLUSTER_CHANGES | LISTENER_CHANGES), max_size=3)


@settings(QUICK, max_examples=25)
@given(GROUPS, st.randoms(use_true_random=False))
def test_the_order_in_which_filters_arrive_does_not_matter(groups: Any, random: Any) -> None:
    texts = envoy_filters(groups)
    shuffled = list(texts)
    random.shuffle(shuffled)
    views = []
    for each in (texts, shuffled):
        world = World()
        world.apply(changes(MESH, *each))
        views.append(world.snapshot(1).view(sidecar_proxy()))
    assert resources_of(views[0]) == resources_of(views[1])


@settings(QUICK, max_examples=25)
@given(st.lists(GROUPS, min_size=2, max_size=3))
def test_what_is_kept_is_what_would_be_made_anew(steps: Any) -> None:
    """A world that saw filters come, change and go gives what a fresh one gives."""
    kept = World()
    kept.apply(changes(MESH))
    known: set[str] = set()
    for number, groups in enumerate(steps, 1):
        puts = list(changes(*envoy_filters(groups)))
        gone = known - {each.key for each in puts}
        known = {each.key for each in puts}
        kept.apply([*puts, *(_Gone(key) for key in gone)])
        fresh = World()
        fresh.apply([*changes(MESH), *puts])
        old, new = (each.snapshot(number).view(sidecar_proxy()) for each in (kept, fresh))
        for type_url in (CDS, LDS):
            assert old.collection(type_url) == new.collection(type_url)
        assert old.named(RDS, "80") == new.named(RDS, "80")


class _Gone:
    value = None

    def __init__(self, key: str) -> None:
        self.key = key


@pytest.mark.parametrize("operation", ["INSERT_BEFORE", "INSERT_AFTER", "REMOVE", "REPLACE"])
def test_names_that_nobody_has_change_nothing(operation: str) -> None:
    text = {
        "applyTo": "HTTP_FILTER",
        "match": {
            "listener": {"filterChain": {"filter": {"name": "hcm", "subFilter": {"name": "x"}}}}
        },
        "patch": {
            "operation": operation,
            "value": {"name": "new", "typed_config": {"@type": f"{HTTP}.lua.v3.Lua"}},
        },
    }
    assert applied(LISTENER, patch_set([text]), listeners).message is LISTENER

"""What the mesh takes of an API server's objects (A2.3, A2.4 of galley-and-kubernetes.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from istio.mcp.v1alpha1 import resource_pb2
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.cluster import (
    Cell,
    Cluster,
    cell,
    defined,
    mesh_key,
    mesh_map,
    mesh_settings,
    owner_of,
    served,
    step,
)
from mast.galley.core.objects import Defaults
from mast.galley.core.resources import resource

DEFAULTS = Defaults(secrets=False)
RULE = "config/istio/networking/v1alpha3/destinationrules/shop/{}".format
NETWORKS = "networks: {n: {endpoints: [{fromRegistry: a}]}}"
MADE = "2026-01-02T03:04:05Z"
MESH_KEY = "config/istio/mesh/v1alpha1/MeshConfig/istio-system/default"
NETWORKS_KEY = "config/istio/mesh/v1alpha1/MeshNetworks/istio-system/default"


def rule(name: str = "x", host: str = "a.com", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": "5",
            "creationTimestamp": MADE,
            **metadata,
        },
        "spec": {"host": host},
        "status": {"conditions": []},
    }


def mesh(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": data,
    }


def read(found: dict[str, Any], revision: str = "default") -> Cell:
    made = cell(found, DEFAULTS, revision)
    assert made is not None
    return made


def place(name: str, namespace: str = "shop") -> tuple[str, str, str]:
    return "destinationrules", namespace, name


def test_an_object_becomes_the_one_that_is_applied() -> None:
    found = read(rule(annotations={"a": "b"}, labels={"app": "x"}, finalizers=["f"]))
    assert (found.scope, found.keys, found.problems) == ("shop", (RULE("x"),), ())
    (obj,) = found.objects.values()
    assert obj.spec.host == "a.com"
    assert obj.meta.resource_version == ""
    assert obj.meta.annotations == {"a": "b", "mast.io/source": "kubernetes"}
    assert obj.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_time_that_is_none_is_left_out() -> None:
    (obj,) = read(rule(creationTimestamp=None)).objects.values()
    assert obj.created is None


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        pytest.param(rule(host=""), "required", id="broken-rule"),
        pytest.param({**rule(), "spec": {"hst": "x"}}, "unknown-field", id="unknown-field"),
        pytest.param({**rule(), "spec": {"host": [[]] * 500_000}}, "too-large", id="too-large"),
    ],
)
def test_an_invalid_object_speaks_for_its_key(found: dict[str, Any], problem: str) -> None:
    made = read(found)
    assert (made.keys, dict(made.objects)) == ((RULE("x"),), {})
    assert problem in {each.rule for each in made.problems}
    assert {each.about for each in made.problems} == {("DestinationRule", "shop", "x")}


@pytest.mark.parametrize(
    ("label", "revision", "taken"),
    [
        (None, "default", True),
        (None, "canary", True),
        ("default", "default", True),
        ("canary", "default", False),
        ("canary", "canary", True),
        ("default", "canary", False),
    ],
)
def test_revisions(label: str | None, revision: str, taken: bool) -> None:
    labels = {"istio.io/rev": label} if label else {}
    assert (cell(rule(labels=labels), DEFAULTS, revision) is not None) is taken


def test_a_config_map_of_the_mesh_holds_two_objects() -> None:
    found = read(mesh(mesh="accessLogFile: /dev/stdout", meshNetworks=NETWORKS))
    assert (found.scope, set(found.objects)) == ("", {MESH_KEY, NETWORKS_KEY})


def test_a_config_map_for_each_revision() -> None:
    assert (mesh_map("default"), mesh_map("canary")) == ("istio", "istio-canary")


def test_a_broken_text_of_it_keeps_what_was() -> None:
    found = read(mesh(mesh="a: [", meshNetworks=NETWORKS))
    assert set(found.keys) == {MESH_KEY, NETWORKS_KEY}
    assert set(found.objects) == {NETWORKS_KEY}
    assert found.problems


def test_config_maps_of_applications_are_none_of_ours() -> None:
    assert cell({**mesh(), "data": {"x": "y"}}, DEFAULTS) is None


def definition(*versions: str, established: str = "True", **spec: Any) -> dict[str, Any]:
    return {
        "spec": {
            "group": "networking.istio.io",
            "names": {"kind": "DestinationRule", "plural": "destinationrules"},
            "scope": "Namespaced",
            "versions": [{"name": v.rstrip("-"), "served": v[-1] != "-"} for v in versions],
            **spec,
        },
        "status": {"conditions": [{"type": "Established", "status": established}]},
    }


DESTINATION_RULE = BY_GROUP_KIND["networking.istio.io", "DestinationRule"]


@pytest.mark.parametrize(
    ("found", "version"),
    [
        pytest.param(definition("v1alpha3", "v1"), "v1", id="our-order"),
        pytest.param(definition("v1-", "v1alpha3"), "v1alpha3", id="served-only"),
        pytest.param(definition("v2"), None, id="no-version-of-ours"),
        pytest.param(definition("v1", established="False"), None, id="not-established"),
        pytest.param(definition("v1", scope="Cluster"), None, id="other-scope"),
        pytest.param({}, None, id="empty"),
    ],
)
def test_the_version_to_ask_for(found: dict[str, Any], version: str | None) -> None:
    resource = served(found, DESTINATION_RULE)
    assert (resource and resource.version) == version


def test_definitions_of_our_kinds() -> None:
    assert defined(definition()) == DESTINATION_RULE
    other = {"kind": "DestinationRule", "plural": "dests"}
    assert defined(definition(names=other)) is None
    assert defined(definition(group="x.io")) is None
    assert defined({}) is None


def owners(**stored: str) -> dict[str, str]:
    return {RULE(name): owner for name, owner in stored.items()}


def done(cluster: Cluster, keys: set[str], stored: dict[str, str]) -> tuple[list[str], list[str]]:
    todo = step(cluster, keys, stored.get)
    return [obj.meta.name for obj in todo.objects], list(todo.deletions)


def test_what_is_to_be_done() -> None:
    cluster = Cluster()
    keys = {RULE("gone"), RULE("others-gone")}
    for name, host in (("new", "a.com"), ("bad", ""), ("mine", "a.com"), ("files", "a.com")):
        keys |= cluster.put(place(name), read(rule(name, host)))
    stored = {
        RULE("bad"): "kubernetes",
        RULE("gone"): "kubernetes",
        RULE("mine"): "",
        RULE("files"): "files",
        RULE("others-gone"): "files",
    }
    assert done(cluster, keys, stored) == (["mine", "new"], [RULE("gone")])
    (problem,) = step(cluster, keys, stored.get).problems
    assert str(problem) == (
        "kubernetes: warning: DestinationRule shop/files: "
        "ignored: the object belongs to the source 'files' [owned]"
    )


def test_what_changes_is_told_by_key() -> None:
    cluster = Cluster()
    assert cluster.put(place("x"), read(rule())) == {RULE("x")}
    assert (cluster.objects, cluster.mistakes) == (1, 0)
    assert cluster.put(place("x"), read(rule(host=""))) == {RULE("x")}
    assert cluster.objects == 0
    assert cluster.mistakes > 0
    assert cluster.speaks(RULE("x"))
    assert cluster.wanted(RULE("x")) is None
    assert cluster.put(place("x"), None) == {RULE("x")}
    assert (cluster.objects, cluster.mistakes) == (0, 0)
    assert not cluster.speaks(RULE("x"))
    assert cluster.put(place("x"), None) == set()


def selecting(**labels: str) -> MeshConfig:
    found = MeshConfig()
    found.discovery_selectors.add(matchLabels=labels)
    return found


def test_namespaces_that_the_mesh_does_not_see() -> None:
    cluster = Cluster()
    cluster.label("shop", {"mesh": "a"})
    cluster.put(place("x"), read(rule()))
    cluster.put(("mesh", "istio-system", "istio"), read(mesh(mesh="{}")))
    assert cluster.configure(MeshConfig()) == set()
    assert cluster.configure(selecting(mesh="a")) == set()
    assert cluster.configure(selecting(mesh="b")) == {RULE("x")}
    assert done(cluster, {RULE("x")}, owners(x="kubernetes")) == ([], [RULE("x")])
    assert cluster.wanted(MESH_KEY) is not None
    assert cluster.label("shop", {"mesh": "b"}) == {RULE("x")}
    assert done(cluster, {RULE("x")}, {}) == (["x"], [])
    assert cluster.label("shop", {"mesh": "b", "more": ""}) == set()
    assert cluster.label("shop", None) == {RULE("x")}


def test_whose_settings_hold() -> None:
    own = read(mesh(mesh="rootNamespace: mine")).objects[MESH_KEY]
    stored = resource(own, 1, None)
    assert mesh_settings(own, b"").root_namespace == "mine"
    assert mesh_settings(None, stored.SerializeToString()).root_namespace == "mine"
    assert mesh_settings(None, b"\xff") == MeshConfig()
    assert mesh_key("istio-system") == MESH_KEY
    assert owner_of(stored.SerializeToString()) == "kubernetes"
    assert owner_of(resource_pb2.Resource().SerializeToString()) == owner_of(b"\xff") == ""

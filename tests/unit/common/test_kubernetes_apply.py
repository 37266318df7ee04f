"""Server-side apply and patches ("Server-Side Apply"), as the fake API server has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mast.common.kubernetes import Api, ApiError, Conflict, NotFound, Patch, Resource, connect
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES, PODS
from tests.fakes.kubernetes import fields
from tests.fakes.kubernetes.kinds import CRDS, DEPLOYMENTS, SERVICES
from tests.fakes.kubernetes.managers import Manager, applied, updated
from tests.fakes.kubernetes.patches import BadPatch, json_patched, strategically_merged
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.fakes.kubernetes.shapes import built_in, custom
from tests.fakes.kubernetes.status import Status

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN, BOB = Manager("ann", "Apply", "v1"), Manager("bob", "Apply", "v1")
EDITOR = Manager("kubectl-edit", "Update", "v1")
POD = built_in(PODS)
SETS = {
    "properties": {
        "spec": {
            "properties": {
                "hosts": {"x-kubernetes-list-type": "set"},
                "servers": {
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"properties": {"tags": {"x-kubernetes-list-type": "atomic"}}},
                },
                "whole": {"x-kubernetes-map-type": "atomic"},
            }
        }
    }
}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"containers": list(containers), **spec}}


def bare(found: dict[str, Any]) -> dict[str, Any]:
    """Without managers."""
    metadata = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
    return {**found, "metadata": metadata}


@pytest.mark.parametrize(
    ("schema", "found", "v1"),
    [
        pytest.param(
            POD,
            {"metadata": {"name": "a", "labels": {"x": "y"}, "finalizers": ["f/g"]}},
            {"f:metadata": {"f:labels": {"f:x": {}}, "f:finalizers": {'v:"f/g"': {}}}},
            id="metadata-and-a-set",
        ),
        pytest.param(
            POD,
            pod({"name": "c", "args": ["1"], "ports": [{"containerPort": 80}]}),
            {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:name": {},
                            "f:args": {},
                            "f:ports": {
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                }
                            },
                        }
                    }
                }
            },
            id="items-by-keys",
        ),
        pytest.param(
            custom(SETS),
            {"spec": {"whole": {"a": {"b": 1}}, "servers": [{"name": "x", "tags": [1]}]}},
            {
                "f:spec": {
                    "f:whole": {},
                    "f:servers": {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:tags": {}}},
                }
            },
            id="by-the-schema-of-a-definition",
        ),
    ],
)
async def test_fields(schema: Any, found: dict[str, Any], v1: dict[str, Any]) -> None:
    paths = frozenset(fields.leaves(found, schema))
    assert fields.as_v1(paths) == v1
    assert fields.of_v1(v1) == paths


async def test_what_is_not_applied_again_goes_unless_others_own_it() -> None:
    both = {"name": "c", "image": "1", "env": [{"name": "X", "value": "1"}]}
    first = applied(None, pod(both, {"name": "d"}, dnsPolicy="None"), POD, ANN, force=False)
    shared = applied(first, pod({"name": "d"}, dnsPolicy="None"), POD, BOB, force=False)
    then = applied(shared, pod({"name": "c", "image": "1"}), POD, ANN, force=False)
    assert bare(then) == pod({"name": "c", "image": "1"}, {"name": "d"}, dnsPolicy="None")
    assert applied(then, pod({"name": "c", "image": "1"}), POD, ANN, force=False) == then


async def test_conflicts_name_fields_and_managers() -> None:
    created = updated(None, pod({"name": "c", "image": "1"}, dnsPolicy="None"), POD, EDITOR)
    wanted = pod({"name": "c", "image": "2"}, dnsPolicy="Default")
    with pytest.raises(Status) as refused:
        applied(created, wanted, POD, ANN, force=False)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert str(refused.value) == (
        'Apply failed with 2 conflicts: conflicts with "kubectl-edit" using v1:\n'
        '- .spec.containers[name="c"].image\n- .spec.dnsPolicy'
    )
    assert [cause.body() for cause in refused.value.causes] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using v1',
            "field": field,
        }
        for field in ('.spec.containers[name="c"].image', ".spec.dnsPolicy")
    ]
    forced = applied(created, wanted, POD, ANN, force=True)
    assert bare(forced) == wanted
    again = updated(forced, {**forced, "spec": {**wanted["spec"], "dnsPolicy": "None"}}, POD, BOB)
    with pytest.raises(Status, match=r'1 conflict: conflict with "bob": \.spec\.dnsPolicy$'):
        applied(again, wanted, POD, ANN, force=False)


async def test_equal_values_are_shared() -> None:
    one = applied(None, pod({"name": "c"}, dnsPolicy="None"), POD, ANN, force=False)
    two = applied(one, pod(dnsPolicy="None"), POD, BOB, force=False)
    assert [each["manager"] for each in two["metadata"]["managedFields"]] == ["ann", "bob"]
    left = applied(two, pod({"name": "c"}), POD, ANN, force=False)
    assert left["spec"]["dnsPolicy"] == "None"


async def test_sets_and_whole_values() -> None:
    schema = custom(SETS)
    one = applied(None, {"spec": {"hosts": ["a"], "whole": {"x": 1}}}, schema, ANN, force=False)
    two = applied(one, {"spec": {"hosts": ["b"]}}, schema, BOB, force=False)
    assert two["spec"]["hosts"] == ["a", "b"]
    three = applied(two, {"spec": {"whole": {"y": 1}}}, schema, ANN, force=False)
    assert three["spec"] == {"hosts": ["b"], "whole": {"y": 1}}


async def test_before_the_first_apply() -> None:
    live = {"metadata": {"name": "a"}, "data": {"x": "1"}}
    shape = built_in(CONFIG_MAPS)
    with pytest.raises(Status, match=r'conflict with "before-first-apply" using v1: \.data\.x'):
        applied(live, {"data": {"x": "2"}}, shape, ANN, force=False)


async def test_keys_that_come_twice_are_refused() -> None:
    with pytest.raises(Status, match=r'\.spec\.containers: duplicate entries for key \[name="c"\]'):
        applied(None, pod({"name": "c"}, {"name": "c"}), POD, ANN, force=False)


@pytest.mark.parametrize(
    ("kind", "patch", "spec"),
    [
        pytest.param(
            PODS,
            {"containers": [{"name": "a", "y": 2}]},
            [{"name": "a", "x": 1, "y": 2}],
            id="by-name",
        ),
        pytest.param(PODS, {"containers": [{"name": "a", "$patch": "delete"}]}, [], id="deleted"),
        pytest.param(
            PODS,
            {"containers": [{"$patch": "replace"}, {"name": "b"}]},
            [{"name": "b"}],
            id="replaced",
        ),
        pytest.param(
            PODS,
            {
                "containers": [{"name": "b"}],
                "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            },
            [{"name": "b"}, {"name": "a", "x": 1}],
            id="in-order",
        ),
        pytest.param(PODS, {"$retainKeys": ["volumes"], "volumes": []}, None, id="retained"),
        pytest.param(
            CONFIG_MAPS, {"containers": [{"name": "b"}]}, [{"name": "b"}], id="whole-elsewhere"
        ),
    ],
)
async def test_strategic_patches(kind: Resource, patch: Any, spec: Any) -> None:
    target = {"spec": {"containers": [{"name": "a", "x": 1}]}}
    made = strategically_merged(target, {"spec": patch}, built_in(kind))
    assert made["spec"].get("containers") == spec


async def test_strategic_patches_of_ports_and_plain_values() -> None:
    service = {
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
        "metadata": {"finalizers": ["a"]},
    }
    change = {"spec": {"ports": [{"port": 80, "name": "http"}]}, "metadata": {"finalizers": ["b"]}}
    made = strategically_merged(service, change, built_in(SERVICES))
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "name": "http"}]
    assert made["metadata"]["finalizers"] == ["a", "b"]
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategically_merged(made, gone, built_in(SERVICES))["metadata"]["finalizers"] == ["b"]
    template = {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    with pytest.raises(BadPatch, match="declared merge key: name"):
        strategically_merged(template, template, built_in(DEPLOYMENTS))


@pytest.mark.parametrize(
    ("steps", "made"),
    [
        pytest.param([{"op": "move", "from": "/a", "path": "/b"}], {"b": [1, 2]}, id="move"),
        pytest.param([{"op": "copy", "from": "/a/0", "path": "/a/-"}], {"a": [1, 2, 1]}, id="copy"),
        pytest.param([{"op": "test", "path": "/a/1", "value": 3}], None, id="test"),
        pytest.param([{"op": "add", "path": "/a/9", "value": 3}], None, id="beyond-the-end"),
        pytest.param([{"op": "remove", "path": "/z"}], None, id="absent"),
    ],
)
async def test_json_patches(steps: Any, made: Any) -> None:
    if made is None:
        with pytest.raises(BadPatch):
            json_patched({"a": [1, 2]}, steps)
    else:
        assert json_patched({"a": [1, 2]}, steps) == made


THINGS = Resource("x.io", "v1", "things", "Thing")
OLD_THINGS = Resource("x.io", "v1beta1", "things", "Thing")
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "mode": {"type": "string", "default": "on"},
                "hosts": {
                    "type": "array",
                    "items": {"type": "string"},
                    "x-kubernetes-list-type": "set",
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
VERSION = {
    "served": True,
    "schema": {"openAPIV3Schema": SCHEMA},
    "subresources": {"status": {}},
}
CRD = {
    "metadata": {"name": "things.x.io"},
    "spec": {
        "group": "x.io",
        "names": {"plural": "things", "kind": "Thing"},
        "scope": "Namespaced",
        "versions": [
            {**VERSION, "name": "v1beta1", "storage": False},
            {**VERSION, "name": "v1", "storage": True},
        ],
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with api_server() as running:
        running.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    async with connect(cluster.access()) as connected:
        yield connected


def named(name: str, **content: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, **content}


async def test_apply_creates_changes_and_gives_up(api: Api) -> None:
    made = await api.apply(CONFIG_MAPS, named("a", data={"x": "1", "y": "1"}))
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("mast", "Apply")
    again = await api.apply(CONFIG_MAPS, named("a", data={"x": "1", "y": "1"}))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert (await api.apply(CONFIG_MAPS, named("a", data={"x": "2"})))["data"] == {"x": "2"}
    await api.patch(CONFIG_MAPS, "a", {"data": {"x": "3"}}, "shop")
    with pytest.raises(Conflict, match=r"Apply failed with 1 conflict: .*: \.data\.x"):
        await api.apply(CONFIG_MAPS, named("a", data={"x": "2"}))
    forced = await api.apply(CONFIG_MAPS, named("a", data={"x": "2"}), force=True)
    assert forced["data"] == {"x": "2"}


async def test_what_cannot_be_applied(api: Api) -> None:
    managed = {"metadata": {"name": "b", "namespace": "shop", "managedFields": [{"manager": "x"}]}}
    with pytest.raises(ApiError, match="managedFields must be nil"):
        await api.apply(CONFIG_MAPS, managed)
    with pytest.raises(ApiError, match="the request is for v1, ConfigMap"):
        await api.apply(CONFIG_MAPS, named("b", kind="Secret"))


async def test_a_definition_is_held_to_what_it_defines(api: Api) -> None:
    """Structural, one stored version; defaults, sets, versions, status apart."""
    with pytest.raises(ApiError, match="must have exactly one version marked as storage"):
        await api.create(CRDS, {**CRD, "spec": {**CRD["spec"], "versions": []}})
    made = await api.create(CRDS, CRD)
    assert [c["type"] for c in made["status"]["conditions"]] == ["NamesAccepted", "Established"]
    one = await api.apply(OLD_THINGS, named("a", spec={"hosts": ["x"]}, status={"no": 1}))
    assert (one["apiVersion"], one["spec"]) == ("x.io/v1beta1", {"hosts": ["x"], "mode": "on"})
    assert "status" not in one
    two = await api.apply(THINGS, named("a", spec={"hosts": ["y"]}))
    assert (two["apiVersion"], two["metadata"]["generation"]) == ("x.io/v1", 2)
    three = await api.patch(THINGS, "a", {"status": {"ok": 1}}, "shop", subresource="status")
    assert three["metadata"]["generation"] == 2
    entries = three["metadata"]["managedFields"]
    assert [each.get("subresource") for each in entries] == [None, None, "status"]
    listed = await api.list(OLD_THINGS, "shop")
    assert [each["apiVersion"] for each in listed.objects] == ["x.io/v1beta1"]
    with pytest.raises(NotFound):
        await api.list(Resource("x.io", "v2", "things", "Thing"))


async def test_strategic_patches_are_for_built_in_kinds(api: Api) -> None:
    with pytest.raises(ApiError, match="415"):
        await api.patch(THINGS, "a", {}, "shop", how=Patch.STRATEGIC)

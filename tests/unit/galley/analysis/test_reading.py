"""Items for an analysis, out of texts and out of what is stored."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.assumed import completed
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.reading import Content, merged, read, registered, stored
from mast.galley.core.analysis.services import SERVICES, exported, fqdn
from mast.galley.core.analysis.snapshot import DOMAIN, Item, Snapshot
from mastapi.galley.v1 import config_pb2
from mastapi.registry.v1 import registry_pb2

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web, labels: {a: b, c: 1}}, spec: {}}"


def content(*texts: str, namespace: str = "shop") -> Content:
    sources = [
        config_pb2.Source(name=f"{number}.yaml", text=text) for number, text in enumerate(texts)
    ]
    return read(sources, namespace)


def names(items: tuple[Item, ...] | list[Item]) -> list[str]:
    return [item.origin for item in items]


def test_objects_of_kubernetes_are_plain_documents() -> None:
    (item,) = content(SERVICE).items
    assert (item.kind, item.namespace, item.name) == (kinds.SERVICE, "shop", "web")
    assert item.labels == {"a": "b"}
    assert item.body["spec"] == {}


def test_lists_are_opened() -> None:
    text = (
        f"{{apiVersion: v1, kind: ServiceList, items: [{SERVICE}, {SERVICE.replace('web', 'b')}]}}"
    )
    assert names(content(text).items) == ["Service shop/web", "Service shop/b"]


def test_objects_that_are_given_twice_count_once_and_say_so() -> None:
    text = (
        "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s}, "
        "spec: {egress: [{hosts: ['%s/*']}]}}"
    )
    (item,) = content(text % ".", text % "~").items
    assert (item.source, list(item.body.egress[0].hosts)) == ("1.yaml", ["~/*"])
    assert [p.message for p in item.problems] == [
        "the object is given twice, and this one counts; first at 0.yaml:1"
    ]


def test_kinds_of_others_are_skipped() -> None:
    found = content("{apiVersion: a.example/v1, kind: Thing, metadata: {name: x}}")
    assert [(p.kind, p.rule) for p in found.skipped] == [("Thing", "unknown-kind")]
    assert not found.items
    assert not found.problems


def test_what_cannot_be_read_is_a_problem() -> None:
    found = content(
        "{apiVersion: networking.istio.io/v1, kind: Nothing, metadata: {name: x}}",
        "a: [",
        "just text",
        "{apiVersion: v1, kind: Pod}",
        "{apiVersion: 1, kind: [a]}",
    )
    assert not found.items
    assert {p.source for p in found.problems} == {f"{number}.yaml" for number in range(5)}


def test_yaml_problems_of_one_object_are_its_own() -> None:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        "metadata: {name: s, name: t}\nspec: {egress: [{hosts: ['*/*']}]}\n"
    )
    found = content(text)
    assert [p.rule for p in found.items[0].problems] == ["duplicate-key"]
    found = content(SERVICE.replace("name: web", "name: web, name: b"))
    assert [p.rule for p in found.problems] == ["duplicate-key"]


def test_services_of_the_registry() -> None:
    text = (
        "{apiVersion: registry.mast/v1, kind: Service, metadata: {name: x, namespace: b}, spec: "
        "{host: a.example, namespace: b, ports: [{name: http, number: 80}], exportTo: [.]}}"
    )
    services = Snapshot(content(text).items).fact(SERVICES)
    assert [each.host for each in services.named("A.example", "b")] == ["a.example"]
    assert not services.named("a.example", "c")
    assert not content(text).problems
    broken = content(text.replace("number: 80", "number: x"))
    assert [(p.rule, p.name) for p in broken.problems] == [("wrong-type", "a.example")]


def test_stored_objects() -> None:
    message = config_pb2.Object(api_version="networking.istio.io/v1", kind="Sidecar")
    message.metadata.name, message.metadata.namespace = "s", "b"
    ParseDict({"egress": [{"hosts": ["*/*"]}]}, message.spec)
    (item,) = stored(message)
    assert (item.origin, item.problems, item.source) == ("Sidecar b/s", (), "")
    assert list(item.body.egress[0].hosts) == ["*/*"]


def test_of_stored_secrets_only_names_are_known() -> None:
    message = config_pb2.Object(api_version="v1", kind="Secret")
    message.metadata.name, message.metadata.namespace = "s", "b"
    ParseDict({"type": "Opaque", "data": {"tls.crt": "[redacted]"}}, message.spec)
    (item,) = stored(message)
    assert dict(item.body.data) == {"tls.crt": b""}
    assert (item.origin, item.body.type) == ("Secret b/s", "Opaque")


def test_registered_workloads() -> None:
    item = registered(registry_pb2.Workload(name="w", namespace="b", labels={"a": "b"}))
    assert (item.origin, item.labels) == ("Workload b/w", {"a": "b"})


def test_newer_objects_replace_older_ones() -> None:
    older, newer = (
        content(SERVICE).items,
        content(SERVICE.replace("spec: {}", "spec: {a: 1}")).items,
    )
    (item,) = merged(older, newer)
    assert item.body["spec"] == {"a": 1}


def test_the_usual_gateway_is_assumed() -> None:
    assert names(completed([])) == [
        "Pod istio-system/istio-ingressgateway",
        "Service istio-system/istio-ingressgateway",
    ]
    own = content(
        "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {istio: ingressgateway}}}"
    )
    assert names(completed(own.items)) == ["Pod shop/p"]
    mesh = (
        "{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig, metadata: {name: default}, "
        "spec: {rootNamespace: root, %s}}"
    )
    assert names(completed(content(mesh % "ingressControllerMode: OFF").items)) == [
        "MeshConfig istio-system/default"
    ]
    made = completed(content(mesh % "").items)
    assert names(made)[1:] == ["Pod root/istio-ingressgateway", "Service root/istio-ingressgateway"]
    assert Snapshot(made).fact(MESH).root_namespace == "root"


def test_names_of_hosts() -> None:
    assert fqdn("Web", "shop", DOMAIN) == "web.shop.svc.cluster.local"
    assert fqdn("web.shop", "b", DOMAIN) == "web.shop"
    assert fqdn("*", "b", DOMAIN) == "*"
    assert exported([], "a") == {"*"}
    assert exported([], "a", ["."]) == {"a"}
    assert exported([".", "b"], "a", ["*"]) == {"a", "b"}

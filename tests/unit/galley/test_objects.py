"""Documents into objects: kinds, versions, metadata, lists, the mesh ConfigMap."""

from __future__ import annotations

import pytest

from mast.galley.core.objects import Defaults, Reading, read_object, read_text
from mast.galley.core.problem import Position
from mastapi.galley.v1 import config_pb2

HEAD = "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"


def read(text: str, **defaults: object) -> Reading:
    return read_text(text, "f.yaml", Defaults(**defaults))  # type: ignore[arg-type]


def told(reading: Reading) -> list[str]:
    return [f"{p.position.line} {p.path} {p.rule}" for p in reading.problems]


def test_an_object_is_understood() -> None:
    text = HEAD + (
        "metadata:\n  name: a\n  namespace: shop\n  labels: {app: x}\n"
        "  annotations: {note: 'n'}\n  resourceVersion: '7'\n  uid: whatever\n"
        "spec: {egress: [{hosts: ['./*']}]}\nstatus: {anything: goes}\n"
    )
    reading = read(text)
    assert reading.problems == ()
    (obj,) = reading.objects
    assert obj.key == "config/istio/networking/v1alpha3/sidecars/shop/a"
    assert (obj.meta.labels, obj.meta.annotations) == ({"app": "x"}, {"note": "n"})
    assert obj.meta.resource_version == "7"
    assert [list(listener.hosts) for listener in obj.spec.egress] == [["./*"]]
    assert obj.position == Position(1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("5", ["1  not-an-object"], id="scalar"),
        pytest.param("kind: Sidecar", ["1 apiVersion required"], id="no-version"),
        pytest.param("apiVersion: [a]\nkind: Sidecar", ["2 apiVersion required"],
                     id="version-not-text"),
        pytest.param("apiVersion: networking.istio.io/v1", ["1 kind required"], id="no-kind"),
        pytest.param("apiVersion: networking.istio.io/v1\nkind: sidecar\nmetadata: {name: a}",
                     ["2 kind unknown-kind"], id="kind-in-lower-case"),
        pytest.param("apiVersion: a.b/v1\nkind: Sidecar", ["2 kind unknown-kind"], id="group"),
        pytest.param("apiVersion: networking.istio.io/v2\nkind: Sidecar\nmetadata: {name: a}",
                     ["1 apiVersion unknown-version"], id="version"),
        pytest.param(HEAD, ["1 metadata required"], id="no-metadata"),
        pytest.param(HEAD + "metadata: 5", ["3 metadata wrong-type"], id="metadata"),
        pytest.param(HEAD + "metadata: {}", ["3 metadata.name required"], id="no-name"),
        pytest.param(HEAD + "metadata: {name: A_b}", ["3 metadata.name name"], id="name"),
        pytest.param(HEAD + "metadata: {name: 5}",
                     ["3 metadata.name wrong-type", "3 metadata.name required"], id="number"),
        pytest.param(HEAD + "metadata: {name: a, namespace: b.c}", ["3 metadata.namespace name"],
                     id="namespace"),
        pytest.param(HEAD + "metadata:\n  name: a\n  labels:\n    a b: c\n    d: e f\n    g: 1",
                     ["8 metadata.labels.g wrong-type", "6 metadata.labels[\"a b\"] label",
                      "7 metadata.labels.d label"], id="labels"),
        pytest.param(HEAD + "metadata: {name: a, labels: [b]}", ["3 metadata.labels wrong-type"],
                     id="labels-list"),
        pytest.param(HEAD + "metadata: {name: a, nmae: b}", ["3 metadata.nmae unknown-field"],
                     id="unknown-metadata"),
        pytest.param(HEAD + "metadata: {name: a}\nspecs: {}", ["4 specs unknown-field"],
                     id="unknown-top-level"),
        pytest.param(HEAD + "metadata: {name: a}\nspec: []", ["4 spec wrong-type"], id="spec"),
        pytest.param(HEAD + "metadata: {name: a}\nspec:", [], id="empty-spec"),
        pytest.param(HEAD + "metadata: {name: a, annotations: {x: '%s'}}" % ("y" * 262_145),
                     ["3 metadata.annotations too-large"], id="huge-annotations"),
        pytest.param("apiVersion: authentication.istio.io/v1alpha1\nkind: MeshPolicy\n"
                     "metadata: {name: default, namespace: a}",
                     ["3 metadata.namespace cluster-scoped"], id="cluster-scoped"),
        pytest.param("kind: List\napiVersion: v1\nitems: 5", ["3 items wrong-type"], id="list"),
    ],
)  # fmt: skip
def test_refused(text: str, expected: list[str]) -> None:
    assert told(read(text)) == expected


def test_messages_name_what_is_meant() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: sidecar"
    (problem,) = read(text).problems
    assert problem.message == (
        "unknown kind 'sidecar' of 'networking.istio.io/v1'; "
        "did you mean Sidecar of networking.istio.io/v1"
    )
    (problem,) = read(HEAD.replace("/v1", "/v7") + "metadata: {name: a}").problems
    assert problem.message == (
        "Sidecar has no version 'v7'; allowed: networking.istio.io/v1, "
        "networking.istio.io/v1alpha3, networking.istio.io/v1beta1"
    )


def test_a_problem_is_written_as_compilers_write_it() -> None:
    (problem,) = read(HEAD + "metadata: {name: a, namespace: b}\nspec:\n  x: 1").problems
    assert str(problem).startswith(
        "f.yaml:5:3: error: Sidecar b/a: spec.x: unknown field 'x' of Sidecar"
    )
    assert str(problem).endswith("[unknown-field]")


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        pytest.param(HEAD + "metadata: {name: a}", "shop", id="default"),
        pytest.param(HEAD + "metadata: {name: a, namespace: b}", "b", id="own"),
        pytest.param("apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
                     "metadata: {name: default}", "istio-system", id="mesh"),
        pytest.param("apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\n"
                     "metadata: {name: default}", "", id="cluster-scoped"),
    ],
)  # fmt: skip
def test_namespace(text: str, namespace: str) -> None:
    (obj,) = read(text, namespace="shop").objects
    assert obj.meta.namespace == namespace


def test_unknown_kinds_may_be_skipped() -> None:
    reading = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", skip_unknown=True)
    assert reading.objects == ()
    assert [(p.severity.value, p.rule, p.kind, p.name) for p in reading.problems] == [
        ("warning", "unknown-kind", "Deployment", "a")
    ]


def test_lists_are_opened() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}}\n"
        "- apiVersion: networking.istio.io/v1\n  kind: SidecarList\n  items:\n"
        "  - {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: b}}\n"
    )
    reading = read(text)
    assert [obj.meta.name for obj in reading.objects] == ["a", "b"]
    assert [obj.position.line for obj in reading.objects] == [4, 8]


CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: mesh-root
data:
  mesh: |-
    accessLogFile: /dev/stdout
    unknown: 1
  meshNetworks: 'networks: {}'
"""


def test_istios_config_map_is_the_mesh_config() -> None:
    reading = read(CONFIG_MAP)
    assert [(o.kind.name, o.meta.namespace, o.meta.name) for o in reading.objects] == [
        ("MeshConfig", "mesh-root", "default"),
        ("MeshNetworks", "mesh-root", "default"),
    ]
    assert reading.objects[0].spec.access_log_file == "/dev/stdout"
    assert told(reading) == ["9 spec.unknown unknown-field"]


def test_a_config_map_without_namespace_is_in_the_root_namespace() -> None:
    text = CONFIG_MAP.replace("  namespace: mesh-root\n", "").replace(
        "unknown: 1", "trustDomainAliases: [a, b]"
    )
    reading = read(text)
    assert {o.meta.namespace for o in reading.objects} == {"istio-system"}
    assert list(reading.objects[0].spec.trust_domain_aliases) == ["a", "b"]


def test_a_config_map_whose_value_is_no_text_is_no_mesh_config() -> None:
    assert read(CONFIG_MAP.replace("mesh: |-", "mesh:")).objects[0].kind.name == "MeshNetworks"


def test_broken_yaml_inside_the_config_map_names_its_line() -> None:
    reading = read(CONFIG_MAP.replace("unknown: 1", "  broken: ["))
    assert [(p.position.line, p.rule) for p in reading.problems][:1] == [(9, "malformed-yaml")]


@pytest.mark.parametrize(
    "change",
    [("name: istio", "name: other"), ("  mesh:", "  mash:"), ("data:", "other:"),
     ("metadata:", "meta:")],
)  # fmt: skip
def test_other_config_maps_are_no_mesh_config(change: tuple[str, str]) -> None:
    text = CONFIG_MAP.replace(*change).replace("meshNetworks", "x")
    assert all(each.kind.name == "ConfigMap" for each in read(text).objects)


def test_objects_of_the_api_are_read_like_text() -> None:
    message = config_pb2.Object(
        api_version="networking.istio.io/v1alpha3",
        kind="DestinationRule",
        metadata=config_pb2.Metadata(
            name="a", namespace="b", labels={"x": "y"}, resource_version="3"
        ),
    )
    message.spec.update({"host": "h", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
                         "subsets": [{"name": "v1", "nmae": 5}]})  # fmt: skip
    reading = read_object(message, "objects[0]", Defaults())
    (obj,) = reading.objects
    assert obj.spec.host == "h"
    assert (obj.meta.namespace, obj.meta.resource_version) == ("b", "3")
    assert told(reading) == ["0 spec.subsets[0].nmae unknown-field"]
    assert reading.problems[0].source == "objects[0]"


def test_numbers_of_the_api_are_whole_where_they_can_be() -> None:
    message = config_pb2.Object(api_version="networking.istio.io/v1", kind="ServiceEntry")
    message.metadata.name = "a"
    message.spec.update({"hosts": ["a.com"], "ports": [{"number": 80, "name": "http"}]})
    reading = read_object(message, "-", Defaults())
    assert reading.problems == ()
    assert reading.objects[0].spec.ports[0].number == 80

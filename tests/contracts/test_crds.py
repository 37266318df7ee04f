"""The CustomResourceDefinitions of charts/mast/crds: made from protos/, as crds.txt has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf.descriptor_pb2 import DescriptorProto

from mast.common.kinds import KINDS
from tests.support.custom_resources import (
    CRDS,
    complaints,
    definitions,
    fields,
    schema_of,
    unstructural,
)
from tools.crds.__main__ import differences
from tools.crds.comments import paragraphs
from tools.crds.manifests import files, is_custom
from tools.crds.schema import Recursive, Schemas

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).with_name("tables") / "crds.txt"
KUBERNETES = "1.33"
# What `kubectl apply` can note of an object in its annotation.
APPLIED_BYTES = 262_144
ALL = sorted(str(kind) for kind in KINDS if is_custom(kind))


def rows() -> Iterator[list[str]]:
    """The rows of crds.txt of every kind, those of 1.4 only where the latest has none."""
    latest: set[tuple[str, str]] = set()
    for line in TABLES.read_text().splitlines():
        words = line.split()
        if not line.startswith("table ") or words[1] in {"group", "kind"}:
            continue
        if len(words) == 3:
            words = ["table", "config.istio.io", words[1], "v1alpha2*", words[2]]
        if (words[1], words[2]) not in latest:
            latest.add((words[1], words[2]))
            yield words[1:]


def test_what_is_checked_in_is_what_protos_say() -> None:
    assert list(differences(files(), CRDS)) == [], "run `python -m tools.crds`"


def test_every_kind_of_ours_has_one() -> None:
    assert set(ALL) == set(definitions())
    assert set(ALL) == {f"{group}/{kind}" for group, kind, *_ in rows()}


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row[0]}/{row[1]}")
def test_names_versions_and_scope_are_istios(row: list[str]) -> None:
    group, kind, versions, plural, *rest = row
    crd = definitions()[f"{group}/{kind}"]
    spec, names = crd["spec"], crd["spec"]["names"]
    has = {v["name"]: v["storage"] for v in spec["versions"]}
    assert has == {v.rstrip("*"): v.endswith("*") for v in versions.split(",")}
    assert all(v["served"] for v in spec["versions"])
    assert all(v["subresources"] == {"status": {}} for v in spec["versions"])
    assert (crd["metadata"]["name"], names["plural"]) == (f"{plural}.{group}", plural)
    assert names["listKind"] == f"{kind}List"
    if rest:
        singular, short, scope, categories, *_ = rest
        assert (names["singular"], spec["scope"]) == (singular, scope)
        assert names.get("shortNames", ["-"]) == [short]
        assert names["categories"] == categories.split(",")


@pytest.mark.parametrize("name", ALL)
def test_an_api_server_takes_it(name: str) -> None:
    crd = definitions()[name]
    kubernetes_validate.validate(crd, KUBERNETES, strict=True)
    for version in crd["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        assert schema == schema_of(crd)
    assert list(unstructural(schema_of(crd))) == []
    assert len(json.dumps(crd, separators=(",", ":"))) < APPLIED_BYTES


@pytest.mark.parametrize("name", ALL)
def test_explains_every_field(name: str) -> None:
    silent = [
        ".".join(at)
        for at, schema in fields(schema_of(definitions()[name]))
        if at[-1:] != ("[]",) and not schema.get("description", "").endswith((".", ":"))
    ]
    assert silent == []


@pytest.mark.parametrize("name", ALL)
def test_columns_show_fields_that_there_are(name: str) -> None:
    crd = definitions()[name]
    paths = {"." + ".".join(at) for at, _ in fields(schema_of(crd))}
    paths.add(".metadata.creationTimestamp")
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    assert {column["jsonPath"] for column in columns} <= paths
    assert columns[-1]["name"] == "Age"


def test_free_form_only_where_the_proto_is() -> None:
    open_at = {
        f"{name}: {'.'.join(at)}"
        for name in ALL
        for at, schema in fields(schema_of(definitions()[name]))
        if schema.get("x-kubernetes-preserve-unknown-fields") and at != ("spec",)
    }
    assert open_at == {
        "config.istio.io/handler: spec.params",
        "config.istio.io/instance: spec.params",
        "extensions.istio.io/TrafficExtension: spec.wasm.pluginConfig",
        "extensions.istio.io/WasmPlugin: spec.pluginConfig",
        "networking.istio.io/EnvoyFilter: spec.configPatches.[].patch.value",
        "networking.istio.io/EnvoyFilter: spec.filters.[].filterConfig",
    }


def examples() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Objects of our kinds that Galley and Envoy accept: those of the goldens and the samples."""
    samples = {*ROOT.glob("samples/**/*.yaml")} - {*ROOT.glob("samples/*/chart/**/*")}
    places = [*samples, *ROOT.glob("tests/golden/pilot/*.in.yaml")]
    for path in sorted(places):
        for found in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            if isinstance(found, dict) and _crd(found) is not None:
                yield str(path.relative_to(ROOT)), found


def _crd(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    group = str(found.get("apiVersion", "")).partition("/")[0]
    return definitions().get(f"{group}/{found.get('kind')}")


def test_takes_what_the_mesh_takes() -> None:
    refused, kinds = [], set()
    for path, found in examples():
        crd = _crd(found)
        assert crd is not None
        kinds.add(found["kind"])
        version = found["apiVersion"].partition("/")[2]
        named = f"{path}: {found['kind']} {found['metadata']['name']}"
        refused += [f"{named}: {each}" for each in complaints(crd, version, found)]
    assert refused == []
    assert len(kinds) > 20


VIRTUAL_SERVICE = "networking.istio.io/VirtualService"
DESTINATION_RULE = "networking.istio.io/DestinationRule"


@pytest.mark.parametrize(
    ("kind", "spec", "complaint"),
    [
        pytest.param(VIRTUAL_SERVICE, {"htp": []}, "'htp' was unexpected", id="unknown-field"),
        pytest.param(VIRTUAL_SERVICE, {"hosts": "a"}, "not of type 'array'", id="type"),
        pytest.param(
            VIRTUAL_SERVICE, {"http": [{"timeout": "5"}]}, "does not match", id="duration"
        ),
        pytest.param(
            VIRTUAL_SERVICE,
            {"http": [{"match": [{"uri": {"exact": "/", "prefix": "/"}}]}]},
            "is valid under each of",
            id="two-of-a-oneof",
        ),
        pytest.param(
            VIRTUAL_SERVICE,
            {"http": [{"route": [{"destination": {"host": "a", "port": {"number": -1}}}]}]},
            "less than the minimum",
            id="range",
        ),
        pytest.param(DESTINATION_RULE, {}, "'host' is a required property", id="required"),
        pytest.param(DESTINATION_RULE, None, "'spec' is a required property", id="no-spec"),
        pytest.param(
            DESTINATION_RULE,
            {"host": "a", "trafficPolicy": {"tls": {"mode": "STRICT"}}},
            "is not one of",
            id="enum",
        ),
        pytest.param(
            "networking.istio.io/WorkloadGroup",
            {"metadata": {"labels": {"app": 1}}, "template": {}},
            "not of type 'string'",
            id="value-of-a-map",
        ),
    ],
)
def test_refuses(kind: str, spec: dict[str, Any] | None, complaint: str) -> None:
    crd = definitions()[kind]
    found = {"apiVersion": f"{kind.partition('/')[0]}/v1", "metadata": {}, "spec": spec}
    said = complaints(crd, "v1", found)
    assert any(complaint in each for each in said), said


def test_free_values_nulls_and_numbers_of_64_bits() -> None:
    patch = {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"x": [1, {}]}}}
    crd = definitions()["networking.istio.io/EnvoyFilter"]
    spec = {"configPatches": [patch], "workloadSelector": None}
    for generation in (1, "1"):
        status = {"observedGeneration": generation}
        assert complaints(crd, "v1alpha3", {"spec": spec, "status": status}) == []


def test_a_message_in_itself_has_no_schema() -> None:
    with pytest.raises(Recursive, match=r"DescriptorProto > .*DescriptorProto"):
        Schemas(lambda _: "").message(DescriptorProto.DESCRIPTOR)


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (" One line\n that goes on.\n", "One line that goes on."),
        (" Of:\n - a\n - b\n", "Of:\n- a\n- b"),
        (" One.\n\n Two\n here.\n", "One.\n\nTwo here."),
        ("", ""),
    ],
)
def test_comments_become_paragraphs(comment: str, text: str) -> None:
    assert paragraphs(comment) == text

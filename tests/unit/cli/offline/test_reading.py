"""Files into store entries: kinds, ages, mistakes with their lines, mesh settings."""

from __future__ import annotations

import pytest

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.cli.offline.reading import FileMesh, Options, read
from mastapi.galley.v1 import config_pb2
from mastapi.registry.v1.registry_pb2 import Service

ENTRY = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: NAME CREATED},
 spec: {hosts: [NAME.test], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}}
"""


def entry(name: str, created: str = "") -> str:
    stamp = f', creationTimestamp: "{created}"' if created else ""
    return ENTRY.replace(" CREATED", stamp).replace("NAME", name)


def files(*texts: str, options: Options = Options(), settings: str = "") -> FileMesh:  # noqa: B008
    sources = [config_pb2.Source(name=f"{n}.yaml", text=t) for n, t in enumerate(texts)]
    mesh = config_pb2.Source(name="mesh.yaml", text=settings) if settings else None
    return read(sources, options, mesh)


def told(found: FileMesh) -> list[str]:
    return [f"{p.source}:{p.position.line} {p.severity.value} {p.rule}" for p in found.problems]


def names_by_age(found: FileMesh) -> list[str]:
    resources = [Resource.FromString(each.value or b"") for each in found.entries]
    resources.sort(key=lambda each: each.metadata.create_time.ToNanoseconds())
    return [each.metadata.name for each in resources]


def test_configuration_is_stored_under_its_key() -> None:
    found = files(entry("web"), options=Options(namespace="shop"))
    assert [each.key for each in found.entries] == [
        "config/istio/networking/v1alpha3/serviceentries/shop/web"
    ]
    assert found.objects[found.entries[0].key].position.line == 2


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        pytest.param([entry("b") + "---" + entry("a")], ["default/b", "default/a"], id="order"),
        pytest.param([entry("b"), entry("a")], ["default/b", "default/a"], id="order-of-files"),
        pytest.param(
            [entry("b", "2024-02-01T00:00:00Z"), entry("a", "2024-01-01T00:00:00Z")],
            ["default/a", "default/b"],
            id="timestamps",
        ),
        pytest.param(
            [entry("b"), entry("a", "2024-01-01T00:00:00Z")],
            ["default/a", "default/b"],
            id="without-timestamp-is-younger",
        ),
        pytest.param(
            ["{kind: List, items: [" + entry("b") + "," + entry("a") + "]}"],
            ["default/b", "default/a"],
            id="list",
        ),
    ],
)
def test_ages(texts: list[str], names: list[str]) -> None:
    assert names_by_age(files(*texts)) == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [", ["0.yaml:2 error malformed-yaml"], id="syntax"),
        pytest.param(
            "apiVersion: networking.istio.io/v1\nkind: Widget\nmetadata: {name: a}",
            ["0.yaml:2 error unknown-kind"],
            id="kind",
        ),
        pytest.param(
            entry("web") + "---" + entry("web"), ["0.yaml:5 error duplicate-object"], id="twice"
        ),
        pytest.param(entry("a", "noon"), ["0.yaml:2 error wrong-type"], id="timestamp"),
        pytest.param(
            "apiVersion: registry.mast/v1\nkind: Service\nspec:\n  hots: a",
            ["0.yaml:4 error unknown-field", "0.yaml:1 error required"],
            id="registry",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  tls.crt: '%'",
            ["0.yaml:5 error wrong-type"],
            id="secret",
        ),
        pytest.param("apiVersion: v1\nkind: Namespace", ["0.yaml:1 error required"], id="nameless"),
    ],
)
def test_mistakes(text: str, expected: list[str]) -> None:
    found = files(text)
    assert told(found) == expected
    assert found.errors


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        pytest.param("networking.istio.io", True, id="misspelt-if-wanted"),
        pytest.param("example.com", False, id="foreign-always"),
    ],
)
def test_unknown_kinds_can_be_skipped(group: str, wanted: bool) -> None:
    widget = f"{{apiVersion: {group}/v1, kind: Widget, metadata: {{name: a}}}}"
    found = files(widget, entry("web"), options=Options(ignore_unknown=wanted))
    assert [each.rule for each in found.warnings] == ["unknown-kind"]
    assert len(found.entries) == 1


def test_rules_can_be_left_out_but_not_decoding() -> None:
    nobody = entry("web").replace("NAME.test", "").replace("[web.test]", "[]")
    assert files(nobody).errors
    relaxed = Options(validate=False)
    assert not files(nobody, options=relaxed).errors
    assert files(nobody.replace("resolution", "resolve"), options=relaxed).errors


def test_registry_objects_are_stored_with_their_age() -> None:
    text = """
{apiVersion: registry.mast/v1, kind: Service,
 spec: {host: web.shop.svc.cluster.local, namespace: shop}}
"""
    (stored,) = files(text).entries
    assert stored.key == "registry/services/shop/web.shop.svc.cluster.local"
    assert Service.FromString(stored.value or b"").HasField("create_time")


def test_secrets_are_sealed_even_here() -> None:
    text = """
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: shop}
stringData: {tls.key: very private, tls.crt: public}
"""
    (entry,) = files(text, options=Options(validate=False)).entries
    assert entry.key == "secrets/shop/web"
    assert b"private" not in (entry.value or b"")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("trustDomain: shop.test", id="fields"),
        pytest.param("meshConfig: {trustDomain: shop.test}", id="helm-values"),
        pytest.param(
            "{apiVersion: install.istio.io/v1alpha1, kind: IstioOperator,"
            " spec: {meshConfig: {trustDomain: shop.test}}}",
            id="operator",
        ),
        pytest.param(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio},"
            ' data: {mesh: "trustDomain: shop.test"}}',
            id="config-map",
        ),
        pytest.param(
            "{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig, metadata: {name: default},"
            " spec: {trustDomain: shop.test}}",
            id="object",
        ),
    ],
)
def test_mesh_settings_replace_those_of_the_files(settings: str) -> None:
    own = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig, metadata: {name: old},
 spec: {trustDomain: other.test}}
"""
    found = files(own, settings=settings)
    (stored,) = found.entries
    config = MeshConfig()
    assert Resource.FromString(stored.value or b"").body.Unpack(config)
    assert config.trust_domain == "shop.test"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param("trustDomian: a", "mesh.yaml:1 error unknown-field", id="field"),
        pytest.param("[a]", "mesh.yaml:0 error not-an-object", id="list"),
        pytest.param("a: [", "mesh.yaml:2 error malformed-yaml", id="syntax"),
    ],
)
def test_wrong_mesh_settings(settings: str, expected: str) -> None:
    assert expected in told(files(settings=settings))

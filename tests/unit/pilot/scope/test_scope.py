"""What proxies see: exportTo, Sidecars and their egress listeners (pilot.md D11)."""

import pytest

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope, ScopeKey, applicable_sidecar
from tests.support.mesh_yaml import scope, sidecar_proxy, world

SHOP = sidecar_proxy("shop", labels={"app": "web"})
LOCAL = "svc.cluster.local"

SERVICES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: shop}
spec: {hosts: [own.shop.svc.cluster.local], ports: [{number: 80, name: http}, {number: 81, name: tcp}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: web}
spec: {hosts: [web.web.svc.cluster.local], ports: [{number: 80, name: http}, {number: 82, name: tcp}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: web}
spec: {hosts: [api.test], ports: [{number: 443, name: tls}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: web}
spec: {hosts: [private.web.svc.cluster.local], exportTo: ["."], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: given, namespace: web}
spec: {hosts: [given.web.svc.cluster.local], exportTo: [shop], ports: [{number: 80, name: http}]}
---
"""  # noqa: E501
OWN, WEB, GIVEN = f"own.shop.{LOCAL}", f"web.web.{LOCAL}", f"given.web.{LOCAL}"


def sidecar(spec: str, name: str = "s", namespace: str = "shop") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )


def virtual_service(spec: str, name: str = "v", namespace: str = "shop") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )


def services(of: Scope) -> dict[str, list[int]]:
    return {each.host: [port.number for port in each.ports] for each in of.services()}


def test_without_a_sidecar_everything_exported_shows() -> None:
    found = scope(SHOP, SERVICES)
    assert services(found) == {
        "api.test": [443],
        GIVEN: [80],
        OWN: [80, 81],
        WEB: [80, 82],
    }
    (listener,) = found.egress
    assert listener.listener is None
    assert [each.host for each in listener.services_on(80)] == [GIVEN, OWN, WEB]
    assert not listener.services_on(99)
    assert found.key == ScopeKey("shop")
    assert services(scope(sidecar_proxy("other"), SERVICES)) == {
        "api.test": [443],
        OWN: [80, 81],
        WEB: [80, 82],
    }


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        pytest.param("['./*']", {OWN: [80, 81]}, id="own"),
        pytest.param("['web/*']", {"api.test": [443], GIVEN: [80], WEB: [80, 82]}, id="namespace"),
        pytest.param("['*/api.test']", {"api.test": [443]}, id="host-anywhere"),
        pytest.param("['api.test']", {"api.test": [443]}, id="no-namespace"),
        pytest.param(f"['shop/{WEB}']", {}, id="host-elsewhere"),
        pytest.param(f"['*/*.web.{LOCAL}']", {GIVEN: [80], WEB: [80, 82]}, id="wildcard"),
        pytest.param("['~/*']", {}, id="nothing"),
        pytest.param(
            "['*/*', '~web/*']",
            {OWN: [80, 81]},
            id="all-but-a-namespace",
        ),
        pytest.param("['web/private.web.svc.cluster.local']", {}, id="not-exported"),
    ],
)
def test_hosts_of_an_egress_listener(egress: str, expected: dict[str, list[int]]) -> None:
    assert (
        services(scope(SHOP, SERVICES, sidecar(f"{{egress: [{{hosts: {egress}}}]}}"))) == expected
    )


def test_listeners_with_a_port_show_that_port_only_and_come_first() -> None:
    port = "{port: {number: 80, protocol: HTTP, name: http}, hosts: ['*/*']}"
    found = scope(SHOP, SERVICES, sidecar(f"{{egress: [{{hosts: ['./*']}}, {port}]}}"))
    first, second = found.egress
    assert first.listener is not None
    assert first.listener.port.number == 80
    assert [each.host for each in first.services_on(80)] == [GIVEN, OWN, WEB]
    assert [each.host for each in second.services()] == [OWN]
    assert services(found) == {GIVEN: [80], OWN: [80, 81], WEB: [80]}
    union = found.service(OWN)
    assert union is not None
    assert [each.number for each in union.ports] == [80, 81]
    assert found.service("api.test") is None


def test_virtual_services_bring_their_destinations() -> None:
    route = f"{{hosts: [{OWN}], http: [{{route: [{{destination: {{host: {WEB}, port: {{number: 82}}}}}}], mirror: {{host: api.test}}}}]}}"  # noqa: E501
    found = scope(SHOP, SERVICES, sidecar("{egress: [{hosts: ['./*']}]}"), virtual_service(route))
    assert services(found) == {"api.test": [443], OWN: [80, 81], WEB: [82]}


def test_destinations_without_a_port_have_that_of_the_listener() -> None:
    route = f"{{hosts: [{OWN}], http: [{{route: [{{destination: {{host: {WEB}}}}}]}}]}}"
    egress = "{egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['./*']}]}"
    found = scope(SHOP, SERVICES, sidecar(egress), virtual_service(route))
    assert services(found) == {OWN: [80], WEB: [80]}


def test_a_destination_without_that_port_is_left_out() -> None:
    route = f"{{hosts: [{OWN}], http: [{{route: [{{destination: {{host: {WEB}, port: {{number: 9}}}}}}, {{destination: {{host: nobody.test}}}}]}}]}}"  # noqa: E501
    found = scope(SHOP, SERVICES, sidecar("{egress: [{hosts: ['./*']}]}"), virtual_service(route))
    assert services(found) == {OWN: [80, 81]}


@pytest.mark.parametrize(
    ("host", "name"),
    [
        pytest.param("a.x.test", "exact", id="exact"),
        pytest.param("b.x.test", "narrow", id="longer-wildcard"),
        pytest.param("b.test", "wide", id="shorter-wildcard"),
        pytest.param("b.other", None, id="none"),
    ],
)
@pytest.mark.parametrize("egress", [None, "['shop/*']"])
def test_which_virtual_service_governs(host: str, name: str | None, egress: str | None) -> None:
    texts = [
        virtual_service(
            "{hosts: ['*.test'], http: [{route: [{destination: {host: own}}]}]}", "wide"
        ),
        virtual_service(
            "{hosts: ['*.x.test'], http: [{route: [{destination: {host: own}}]}]}", "narrow"
        ),
        virtual_service(
            "{hosts: [a.x.test], http: [{route: [{destination: {host: own}}]}]}", "exact"
        ),
        virtual_service(
            "{hosts: [a.x.test], http: [{route: [{destination: {host: own}}]}]}", "younger"
        ),
        virtual_service(
            "{hosts: [b.x.test], gateways: [g], http: [{redirect: {uri: /}}]}", "gateway"
        ),
        virtual_service(
            "{hosts: [b.x.test], exportTo: ['.'], http: [{redirect: {uri: /}}]}", "p", "web"
        ),
    ]
    if egress is not None:
        texts.append(sidecar(f"{{egress: [{{hosts: {egress}}}]}}"))
    found = scope(SHOP, SERVICES, *texts).virtual_service(host)
    assert (found.meta.name if found else None) == name


def test_virtual_services_come_through_the_listener_that_selects_them() -> None:
    text = virtual_service(f"{{hosts: [{OWN}], http: [{{redirect: {{uri: /}}}}]}}", "v", "web")
    assert scope(SHOP, SERVICES, text).virtual_service(OWN) is not None
    narrow = sidecar("{egress: [{hosts: ['./*']}]}")
    assert scope(SHOP, SERVICES, text, narrow).virtual_service(OWN) is None


@pytest.mark.parametrize("egress", [None, "['*/*']"])
def test_hosts_of_virtual_services_without_a_service(egress: str | None) -> None:
    texts = [
        virtual_service(f"{{hosts: [x.test, {OWN}, 'a'], http: [{{redirect: {{uri: /}}}}]}}"),
        virtual_service(f"{{hosts: [private.web.{LOCAL}], http: [{{redirect: {{uri: /}}}}]}}", "p"),
    ]
    if egress is not None:
        texts.append(sidecar(f"{{egress: [{{hosts: {egress}}}]}}"))
    (listener,) = scope(SHOP, SERVICES, *texts).egress
    expected = [f"a.shop.{LOCAL}", f"private.web.{LOCAL}", "x.test"]
    assert [host for host, _ in listener.standalone()] == expected


def test_virtual_services_of_a_gateway() -> None:
    texts = [
        virtual_service("{hosts: [a.test], gateways: [g, mesh], http: [{redirect: {uri: /}}]}"),
        virtual_service(
            "{hosts: [b.test], gateways: [shop/g], http: [{redirect: {uri: /}}]}", "w", "web"
        ),
        virtual_service(
            "{hosts: [c.test], gateways: [shop/g], exportTo: ['.'], http: [{redirect: {uri: /}}]}",
            "x",
            "web",
        ),
    ]
    found = scope(SHOP, *texts)
    assert [each.meta.name for each in found.gateway_virtual_services("shop/g")] == ["v", "w"]
    assert [each.meta.name for each in found.gateway_virtual_services("mesh")] == ["v"]
    assert not found.gateway_virtual_services("shop/other")


def test_delegates_are_joined_and_followed() -> None:
    root = virtual_service(
        "{hosts: [a.test], http: [{delegate: {name: d, namespace: web}}]}", "root"
    )
    delegate = virtual_service("{http: [{name: first, redirect: {uri: /}}]}", "d", "web")
    found = scope(SHOP, root, delegate).virtual_service("a.test")
    assert found is not None
    assert found.spec.http[0].redirect.uri == "/"
    assert not scope(SHOP, root).virtual_service("a.test").spec.http  # type: ignore[union-attr]


CHOICE = [
    sidecar("{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['./*']}]}", "selected"),
    sidecar("{workloadSelector: {labels: {app: web}}, egress: [{hosts: ['./*']}]}", "younger"),
    sidecar("{egress: [{hosts: ['./*']}]}", "general"),
    sidecar("{workloadSelector: {labels: {app: web}}}", "root-selected", "istio-system"),
    sidecar("{egress: [{hosts: ['./*']}]}", "root", "istio-system"),
]


@pytest.mark.parametrize(
    ("proxy", "texts", "name"),
    [
        pytest.param(SHOP, CHOICE, "selected", id="selector-oldest"),
        pytest.param(sidecar_proxy("shop"), CHOICE, "general", id="namespace"),
        pytest.param(sidecar_proxy("web"), CHOICE, "root", id="root"),
        pytest.param(SHOP, [], None, id="none"),
    ],
)
def test_which_sidecar_applies(proxy: Proxy, texts: list[str], name: str | None) -> None:
    everything = world(*texts).snapshot().scope(proxy.namespace)
    found = applicable_sidecar(everything, proxy.labels)
    assert (found.meta.name if found else None) == name


@pytest.mark.parametrize(
    ("texts", "mode"),
    [
        pytest.param([], "ALLOW_ANY", id="mesh-default"),
        pytest.param(
            [sidecar("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}")], "REGISTRY_ONLY", id="own"
        ),
        pytest.param([sidecar("{egress: [{hosts: ['./*']}]}")], "ALLOW_ANY", id="not-said"),
        pytest.param(
            [
                "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
                "metadata: {name: default, namespace: istio-system}\n"
                "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n"
            ],
            "REGISTRY_ONLY",
            id="mesh",
        ),
    ],
)
def test_outbound_policy(texts: list[str], mode: str) -> None:
    policy = scope(SHOP, *texts).outbound_policy
    assert policy.DESCRIPTOR.enum_types_by_name["Mode"].values_by_number[policy.mode].name == mode


def test_a_sidecar_without_egress_changes_nothing_in_sight() -> None:
    found = scope(SHOP, SERVICES, sidecar("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))
    assert services(found) == services(scope(SHOP, SERVICES))
    assert found.key == ScopeKey("shop", "shop", "s")


def test_policies_are_those_of_the_root_and_the_own_namespace() -> None:
    texts = [sidecar("{}", name, name) for name in ("shop", "web", "istio-system")]
    own = scope(SHOP, *texts).policies(collection_names.SIDECARS)
    assert [each.meta.name for each in own] == ["istio-system", "shop"]
    root = scope(sidecar_proxy("istio-system"), *texts).policies(collection_names.SIDECARS)
    assert [each.meta.name for each in root] == ["istio-system"]


def test_owned_services_show_whatever_their_export() -> None:
    found = scope(SHOP, SERVICES)
    hosts = [each.host for each in found.owned_services("web")]
    assert hosts == ["api.test", GIVEN, f"private.web.{LOCAL}", WEB]
    assert not found.owned_services("nowhere")

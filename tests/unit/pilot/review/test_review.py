"""What authors of configuration are told about it (pilot.md N4, N10, N25)."""

from collections.abc import Iterable

import pytest

from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.review.statuses import config_statuses
from tests.support.legacy_objects import obj, policy, switch
from tests.support.mesh_yaml import changes, reviewed, world

SERVICE = ObjectName("k8s/core/v1/services", "shop", "web")
NETWORKING = "apiVersion: networking.istio.io/v1"
WEB = f"""
{{{NETWORKING}, kind: ServiceEntry, metadata: {{name: web, namespace: shop}},
 spec: {{hosts: [web.test], resolution: STATIC,
        ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}
"""


def object_of(kind: str, name: str, spec: str, namespace: str = "shop") -> str:
    groups = {"PeerAuthentication": "security", "Telemetry": "telemetry"}
    group = groups.get(kind, "networking")
    return (
        f"{{apiVersion: {group}.istio.io/v1, kind: {kind},"
        f" metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )


def vs(name: str, spec: str, namespace: str = "shop") -> str:
    return object_of("VirtualService", name, spec, namespace)


def dr(name: str, spec: str, namespace: str = "shop") -> str:
    return object_of("DestinationRule", name, spec, namespace)


def platform_service(host: str, namespace: str = "shop", **more: str) -> str:
    fields = "".join(f", {key}: {value}" for key, value in more.items())
    return f"""
{{apiVersion: registry.mast/v1, kind: Service, metadata: {{name: x}},
 spec: {{host: {host}, namespace: {namespace}, name: web, registry: Kubernetes,
        ports: [{{name: http, number: 80, protocol: HTTP}}]{fields}}}}}
"""


def shown(findings: Iterable[Finding]) -> list[str]:
    """`FAULT SUBJECT KEY (WINNER)`, sorted."""
    return sorted(
        f"{each.fault.name} {each.subject.name if each.subject else '-'} {each.key}"
        + (f" ({each.winner.namespace}/{each.winner.name})" if each.winner else "")
        for each in findings
    )


def to(host: str, more: str = "") -> str:
    return f"{{hosts: [web.test], http: [{{route: [{{destination: {{host: {host}{more}}}}}]}}]}}"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([WEB, vs("a", to("web.test"))], [], id="all-is-well"),
        pytest.param([WEB, vs("a", to("gone.test"))], ["UNKNOWN_HOST a gone.test"], id="host"),
        pytest.param(
            [WEB, vs("a", to("web.test", ", port: {number: 81}"))],
            ["UNKNOWN_HOST a web.test:81"],
            id="port",
        ),
        pytest.param(
            [WEB, vs("a", to("web.test", ", subset: v1"))],
            ["UNKNOWN_SUBSET a web.test v1"],
            id="subset-without-rule",
        ),
        pytest.param(
            [WEB, vs("a", to("web.test", ", subset: v1")), dr("r", "{host: web.test}")],
            ["UNKNOWN_SUBSET a web.test v1"],
            id="subset-the-rule-lacks",
        ),
        pytest.param(
            [
                WEB,
                vs("a", to("web.test", ", subset: v1")),
                dr("r", "{host: web.test, subsets: [{name: v1}]}"),
            ],
            [],
            id="subset-that-is-defined",
        ),
        pytest.param(
            [WEB, vs("a", to("web.test")), vs("b", to("web.test"))],
            ["SUPERSEDED b web.test (shop/a)"],
            id="two-for-one-host",
        ),
        pytest.param(
            [WEB, vs("a", "{hosts: [web.test], gateways: [gw], http: [{name: x}]}")],
            ["UNKNOWN_GATEWAY a shop/gw"],
            id="gateway",
        ),
        pytest.param(
            [vs("a", "{hosts: [web.test], http: [{delegate: {name: d}}]}")],
            ["MISSING_DELEGATE a shop/d"],
            id="delegate-missing",
        ),
        pytest.param(
            [
                WEB,
                vs("a", "{hosts: [web.test], http: [{delegate: {name: d}}]}"),
                vs("d", "{hosts: [other.test], http: [{name: x}]}"),
            ],
            ["MISSING_DELEGATE a shop/d"],
            id="delegate-with-hosts",
        ),
        pytest.param(
            [
                vs("a", "{hosts: [web.test], http: [{delegate: {name: d, namespace: own}}]}"),
                vs("d", "{exportTo: ['.'], http: [{name: x}]}", "own"),
            ],
            ["MISSING_DELEGATE a own/d"],
            id="delegate-not-exported",
        ),
        pytest.param(
            [
                vs("a", "{hosts: [web.test], http: [{delegate: {name: d}}]}"),
                vs("d", "{http: [{delegate: {name: e}}]}"),
                vs("e", "{http: [{name: x}]}"),
            ],
            ["MISSING_DELEGATE a shop/d"],
            id="delegate-of-a-delegate",
        ),
        pytest.param(
            [dr("r", "{host: gone}")],
            ["UNKNOWN_HOST r gone.shop.svc.cluster.local"],
            id="rule-for-nobody",
        ),
        pytest.param([WEB, dr("r", "{host: '*.test'}")], [], id="rule-for-a-wildcard"),
        pytest.param(
            [dr("r", "{host: '*.test'}")],
            ["UNKNOWN_HOST r *.test"],
            id="rule-for-an-empty-wildcard",
        ),
        pytest.param(
            [
                WEB,
                dr("a", "{host: web.test, subsets: [{name: v1}], trafficPolicy: {}}"),
                dr("b", "{host: web.test, subsets: [{name: v1}], trafficPolicy: {}}"),
            ],
            [
                "DUPLICATE_SUBSET b web.test v1 (shop/a)",
                "SUPERSEDED b web.test trafficPolicy (shop/a)",
            ],
            id="merged-rules",
        ),
        pytest.param(
            [WEB, dr("a", "{host: web.test}"), dr("b", "{host: web.test, exportTo: ['.']}")],
            ["SUPERSEDED b web.test (shop/a)"],
            id="rules-exported-differently",
        ),
        pytest.param(
            [
                WEB,
                dr(
                    "a",
                    "{host: web.test, trafficPolicy: {loadBalancer: {localityLbSetting:"
                    " {failover: [{from: a, to: b}]}}}}",
                ),
            ],
            ["NO_FAILOVER a web.test trafficPolicy"],
            id="failover-without-detection",
        ),
        pytest.param(
            [
                WEB,
                dr(
                    "a",
                    "{host: web.test, trafficPolicy: {outlierDetection: {interval: 1s},"
                    " loadBalancer: {localityLbSetting: {failoverPriority: [x]}},"
                    " portLevelSettings: [{port: {number: 80},"
                    " loadBalancer: {localityLbSetting: {failoverPriority: [x]}}}]}}",
                ),
            ],
            ["NO_FAILOVER a web.test trafficPolicy.portLevelSettings[0]"],
            id="failover-of-a-port-without-detection",
        ),
        pytest.param(
            [
                WEB.replace("web.test", "w.shop.svc.cluster.local"),
                platform_service("w.shop.svc.cluster.local"),
            ],
            ["HIDDEN_SERVICE web w.shop.svc.cluster.local (shop/web)"],
            id="hidden-by-the-platform",
        ),
        pytest.param(
            [WEB, WEB.replace("shop", "thief")],
            ["HIDDEN_SERVICE web web.test (shop/web)"],
            id="host-of-another-namespace",
        ),
        pytest.param(
            [
                object_of("Sidecar", "a", "{egress: [{hosts: ['*/*']}]}"),
                object_of("Sidecar", "b", "{egress: [{hosts: ['*/*']}]}"),
                object_of("Sidecar", "c", "{workloadSelector: {labels: {app: web}}}"),
            ],
            ["SUPERSEDED b shop (shop/a)"],
            id="two-sidecars",
        ),
        pytest.param(
            [
                object_of("PeerAuthentication", "a", "{mtls: {mode: STRICT}}"),
                object_of("PeerAuthentication", "b", "{mtls: {mode: DISABLE}}"),
            ],
            ["SUPERSEDED b shop (shop/a)"],
            id="two-authentications",
        ),
        pytest.param(
            [
                object_of("PeerAuthentication", "a", "{selector: {matchLabels: {app: web}}}"),
                object_of(
                    "PeerAuthentication", "b", "{selector: {matchLabels: {app: web, v: v1}}}"
                ),
                object_of("PeerAuthentication", "c", "{selector: {matchLabels: {v: v1}}}"),
            ],
            ["SUPERSEDED b app=web, v=v1 (shop/a)"],
            id="an-authentication-within-another",
        ),
        pytest.param(
            [
                object_of("PeerAuthentication", "a", "{mtls: {mode: STRICT}}", "istio-system"),
                object_of(
                    "PeerAuthentication",
                    "b",
                    "{selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}}",
                    "istio-system",
                ),
            ],
            ["UNENFORCEABLE b spec.selector"],
            id="a-selecting-authentication-of-the-mesh",
        ),
        pytest.param(
            [
                WEB.replace("web.test", "web.shop.svc.cluster.local"),
                policy("a", "{targets: [{name: web, ports: [{number: 80}, {name: http}]}]}"),
                policy("b", "{targets: [{name: web, labels: {v: v1}}, {name: gone}]}"),
                policy("c", "{targets: [{name: web.shop, ports: [{number: 80}]}]}"),
                policy("d", "{targets: [{name: web, labels: {v: v1, w: w1}}]}"),
            ],
            [
                "SUPERSEDED c web.shop.svc.cluster.local targets[0] (shop/a)",
                "SUPERSEDED d web.shop.svc.cluster.local targets[0] (shop/b)",
                "UNKNOWN_HOST b gone",
            ],
            id="targets-of-old-policies",
        ),
        pytest.param(
            [
                obj("RbacConfig", "default", "{mode: ON}", "shop"),
                obj("RbacConfig", "default", "{mode: ON}", "istio-system"),
            ],
            ["SUPERSEDED default shop (istio-system/default)"],
            id="two-switches",
        ),
        pytest.param(
            [obj("RbacConfig", "default", "{mode: ON}", "istio-system"), switch("{mode: OFF}")],
            ["SUPERSEDED default istio-system (/default)"],
            id="the-switch-of-the-cluster",
        ),
        pytest.param(
            [
                object_of("Telemetry", "a", "{}"),
                object_of("Telemetry", "b", "{selector: {matchLabels: {app: web}}}"),
                object_of("Telemetry", "c", "{targetRefs: [{kind: Gateway, name: g}]}"),
                object_of("Telemetry", "d", "{}"),
            ],
            ["SUPERSEDED d shop (shop/a)"],
            id="two-telemetries",
        ),
        pytest.param(
            [
                platform_service("w.test", selector="{app: w}"),
                "{apiVersion: registry.mast/v1, kind: EndpointShard, metadata: {name: x},"
                " spec: {host: w.test, namespace: shop, shard: c,"
                " endpoints: [{address: 10.0.0.1, ports: {http: 80}},"
                " {address: 10.0.0.2, ports: {http: 80}}]}}",
                "{apiVersion: registry.mast/v1, kind: Workload, metadata: {name: x},"
                " spec: {name: w, namespace: shop, cluster: c, addresses: [10.0.0.2]}}",
            ],
            ["NO_WORKLOAD web w.test 10.0.0.1"],
            id="endpoint-without-workload",
        ),
    ],
)
def test_findings(texts: list[str], expected: list[str]) -> None:
    assert shown(reviewed(world(*texts))) == expected


def test_they_follow_every_change() -> None:
    """What is found later equals what is found from scratch."""
    texts = [
        WEB,
        vs("a", to("web.test", ", subset: v1")),
        dr("r", "{host: web.test, subsets: [{name: v1}]}"),
        vs("b", to("web.test")),
    ]
    held = world()
    for number, text in enumerate(texts, 1):
        held.apply(changes(text))
        assert reviewed(held, number) == reviewed(world(*texts[:number]))


def test_only_what_is_touched_is_looked_at_again() -> None:
    held = world(WEB, *(vs(f"v{number}", to("gone.test")) for number in range(50)))
    first = held.snapshot(1)
    assert len(list(first.review())) > 3
    before = reviewed(held)
    assert list(first.review()) == []
    held.apply(changes(object_of("Gateway", "g", "{selector: {a: b}}")))
    second = held.snapshot(2)
    assert list(second.review()) == []
    assert second.findings() == set(before)


class TestStatuses:
    """`status/config/…`."""

    def test_name_object_version_and_winner(self) -> None:
        made = world(WEB, vs("a", to("web.test")), vs("b", to("web.test")))
        found = reviewed(made)
        ((key, status),) = config_statuses(found, made.snapshot(1).index, "pilot-1").items()
        assert key == "status/config/istio/networking/v1alpha3/virtualservices/shop/b/pilot-1"
        assert (status.object.name, status.version, status.pilot) == ("b", "1", "pilot-1")
        (finding,) = status.findings
        assert (finding.fault, finding.key) == ("pilot_superseded_configs", "web.test")
        assert (finding.winner.namespace, finding.winner.name) == ("shop", "a")
        assert "VirtualService shop/a is older" in finding.message

    def test_are_sorted_by_object(self) -> None:
        made = world(vs("b", to("gone.test")), vs("a", to("gone.test", ", subset: x")))
        statuses = config_statuses(reviewed(made), made.snapshot(1).index, "p")
        assert sorted(each.object.name for each in statuses.values()) == ["a", "b"]

    def test_of_the_platforms_services_have_no_version(self) -> None:
        finding = Finding(fault=Fault.INBOUND_PORT, key="80", message="Taken.", subject=SERVICE)
        snapshot = world().snapshot(1)
        (status,) = config_statuses([finding], snapshot.index, "p").values()
        assert status.version == ""

    def test_endpoints_that_come_and_go_are_not_published(self) -> None:
        snapshot = world().snapshot(1)
        found = [
            Finding(fault=Fault.NOT_READY, key="x", message="", subject=SERVICE),
            Finding(fault=Fault.DUPLICATE_CLUSTER, key="x", message=""),
        ]
        assert config_statuses(found, snapshot.index, "p") == {}

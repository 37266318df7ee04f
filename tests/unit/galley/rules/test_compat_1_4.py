"""What Istio 1.4 refused and later versions take: only on request (B2, after the table)."""

from __future__ import annotations

import pytest

from mast.common.kinds import named
from mast.galley.core.judge import judge
from mast.galley.core.objects import Compat, Defaults, read_text

ROUTE = "route: [{destination: {host: a}}]"
TWO = "route: [{destination: {host: a}, weight: %d}, {destination: {host: b}, weight: %d}]"
STATIC = "{hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC%s}"
PORT = "port: {number: 80, protocol: HTTP, name: http}"
EGRESS = "egress: [{hosts: ['./*']}]"


def found(kind: str, spec: str, compat: Compat) -> list[str]:
    known = named(kind)[0]
    text = (
        f"apiVersion: {known.api_version}\nkind: {kind}\n"
        f"metadata: {{name: default, namespace: shop}}\nspec: {spec}\n"
    )
    judged = judge(read_text(text, "a.yaml", Defaults()), compat)
    return [f"{p.severity.value} {p.path} {p.rule}" for p in judged.problems]


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param("VirtualService", f"{{hosts: [a.com], exportTo: ['.'], http: [{{{ROUTE}}}]}}",
                     [], id="export-to-here"),
        pytest.param("VirtualService", f"{{hosts: [a.com], exportTo: [b], http: [{{{ROUTE}}}]}}",
                     ["spec.exportTo[0] export-to"], id="export-to-a-namespace"),
        pytest.param("DestinationRule", "{host: a, exportTo: [., b]}",
                     ["spec.exportTo export-to", "spec.exportTo[1] export-to"],
                     id="export-to-several"),
        pytest.param("VirtualService", f"{{hosts: [a.com], http: [{{{TWO % (70, 30)}}}]}}", [],
                     id="weights"),
        pytest.param("VirtualService", f"{{hosts: [a.com], http: [{{{TWO % (7, 3)}}}]}}",
                     ["spec.http[0].route weight"], id="weights-of-another-sum"),
        pytest.param("VirtualService", f"{{hosts: [a.com], tcp: [{{{TWO % (300, 100)}}}]}}",
                     ["spec.tcp[0].route weight", "spec.tcp[0].route[0].weight weight"],
                     id="weight-above-100"),
        pytest.param("VirtualService", "{hosts: [a.com], http: [{redirect: {uri: /},"
                     " websocketUpgrade: true}]}",
                     ["spec.http[0].websocketUpgrade not-allowed"], id="redirected-websocket"),
        pytest.param("ServiceEntry", STATIC % ", endpoints: [{address: 1.1.1.1}]", [],
                     id="static"),
        pytest.param("ServiceEntry", STATIC % "", ["spec.endpoints required"],
                     id="static-without-endpoints"),
        pytest.param("Sidecar", f"{{{EGRESS}, ingress: [{{{PORT}, defaultEndpoint: ':80'}}]}}", [],
                     id="sidecar"),
        pytest.param("Sidecar", f"{{ingress: [{{{PORT}}}]}}",
                     ["spec.egress required", "spec.ingress[0].defaultEndpoint required"],
                     id="sidecar-without-egress"),
        pytest.param("Sidecar", f"{{{EGRESS}, ingress: [{{{PORT},"
                     " defaultEndpoint: '0.0.0.0:80'}]}",
                     ["spec.ingress[0].defaultEndpoint endpoint"], id="endpoint-anywhere"),
        pytest.param("Sidecar", f"{{{EGRESS}, workloadSelector: {{}}}}",
                     ["spec.workloadSelector.labels required"], id="empty-selector"),
        pytest.param("EnvoyFilter", "{workloadSelector: {labels: {}}}",
                     ["spec.workloadSelector.labels required"], id="empty-selector-of-patches"),
        pytest.param("MeshConfig", "{defaultConfig: {drainDuration: 45s,"
                     " parentShutdownDuration: 60s}}", [], id="shutdown"),
        pytest.param("MeshConfig", "{defaultConfig: {drainDuration: 60s}}",
                     ["spec.defaultConfig.parentShutdownDuration duration"],
                     id="shutdown-before-drained"),
        pytest.param("MeshConfig", "{defaultConfig: {parentShutdownDuration: 3601s}}",
                     ["spec.defaultConfig.parentShutdownDuration duration"],
                     id="shutdown-after-an-hour"),
    ],
)  # fmt: skip
def test_stricter_and_without_warnings(kind: str, spec: str, expected: list[str]) -> None:
    assert found(kind, spec, Compat.ISTIO_1_4) == [f"error {item}" for item in expected]
    now = found(kind, spec, Compat.CURRENT)
    assert [item for item in now if item.startswith("error")] == []


def test_todays_errors_stay_errors() -> None:
    spec = "{hosts: ['a b'], http: [{route: [{destination: {host: '*'}}]}]}"
    assert found("VirtualService", spec, Compat.ISTIO_1_4) == [
        "error spec.hosts[0] host",
        "error spec.http[0].route[0].destination.host host",
    ]

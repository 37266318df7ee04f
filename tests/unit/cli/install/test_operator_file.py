"""IstioOperator files as values: what maps, and how the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mast.cli.install.operator_file import NotMapped, mapped
from tests.support.chart import chart

HPA = """
components:
  pilot:
    k8s:
      hpaSpec:
        minReplicas: 2
        maxReplicas: 7
        metrics: [{type: Resource, resource: %s}]
"""


def read(text: str) -> tuple[str, dict[str, Any]]:
    return mapped(yaml.safe_load(text))


def test_every_field_that_maps() -> None:
    profile, values = read("""
profile: demo
revision: canary
hub: registry.example/mast
tag: 1.2.3
meshConfig: {accessLogFile: /dev/stdout}
values:
  global: {trustDomain: example.org}
  pilot: {traceSampling: 5, autoscaleMin: 1}
components:
  base: {enabled: true}
  pilot:
    enabled: true
    k8s:
      resources: {requests: {cpu: 1}}
      replicaCount: 3
      nodeSelector: {disk: ssd}
      tolerations: [{operator: Exists}]
      podAnnotations: {a: b}
      env: [{name: X, value: y}, {name: Z}]
      strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}
  citadel: {k8s: {affinity: {nodeAffinity: {}}}}
  policy: {enabled: false}
  telemetry: {enabled: false}
  cni: {enabled: true, k8s: {resources: {limits: {cpu: 1}}}}
  sidecarInjector: {enabled: true}
  ingressGateways:
    - name: istio-ingressgateway
      label: {app: front}
      k8s:
        service: {type: NodePort, ports: [{name: http, port: 80}], loadBalancerIP: 10.0.0.1}
        serviceAnnotations: {c: d}
    - {name: istio-ilbgateway, enabled: true}
  egressGateways: [{name: istio-egressgateway, enabled: true}]
""")
    assert profile == "demo"
    assert values == {
        "revision": "canary",
        "meshConfig": {"accessLogFile": "/dev/stdout"},
        "global": {"trustDomain": "example.org", "hub": "registry.example/mast", "tag": "1.2.3"},
        "pilot": {
            "traceSampling": 5,
            "autoscaleMin": 1,
            "enabled": True,
            "resources": {"requests": {"cpu": 1}},
            "replicaCount": 3,
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
            "podAnnotations": {"a": "b"},
            "env": {"X": "y", "Z": ""},
            "rollingMaxSurge": "50%",
            "rollingMaxUnavailable": 0,
        },
        "security": {"affinity": {"nodeAffinity": {}}},
        "mixer": {"policy": {"enabled": False}, "telemetry": {"enabled": False}},
        "cni": {"enabled": True, "resources": {"limits": {"cpu": 1}}},
        "sidecarInjectorWebhook": {"enabled": True},
        "gateways": {
            "istio-ingressgateway": {
                "labels": {"app": "front"},
                "type": "NodePort",
                "ports": [{"name": "http", "port": 80}],
                "loadBalancerIP": "10.0.0.1",
                "serviceAnnotations": {"c": "d"},
            },
            "istio-ilbgateway": {"enabled": True},
            "istio-egressgateway": {"enabled": True},
        },
    }
    chart().validate_schema(values)


@pytest.mark.parametrize(
    "cpu",
    [
        "{name: cpu, target: {type: Utilization, averageUtilization: 60}}",
        "{name: cpu, targetAverageUtilization: 60}",
    ],
)
def test_autoscaling(cpu: str) -> None:
    _, values = read(HPA % cpu)
    scaled = {"autoscaleMin": 2, "autoscaleMax": 7, "cpu": {"targetAverageUtilization": 60}}
    assert values == {"pilot": scaled}
    chart().validate_schema(values)


def test_components_lie_over_values() -> None:
    _, values = read("{values: {cni: {enabled: false}}, components: {cni: {enabled: true}}}")
    assert values == {"cni": {"enabled": True}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3", "3; want fields"),
        ("{profil: demo}", "profil: there is no value for it; allowed here: profile, revision"),
        ("{profile: [demo]}", "profile: ['demo']; want the name of a profile"),
        ("{addonComponents: {}}", "addonComponents: there is no value"),
        ("{values: []}", "values: []; want fields"),
        ("{components: {ztunnel: {}}}", "components.ztunnel: there is no such component; want one"),
        ("{components: {base: {enabled: false}}}", "components.base.enabled: false; definitions"),
        ("{components: {pilot: {enabled: 1}}}", "components.pilot.enabled: 1; want true or false"),
        (
            "{components: {pilot: {k8s: {overlays: []}}}}",
            "components.pilot.k8s.overlays: there is no value for it; allowed here: resources,",
        ),
        (
            "{components: {pilot: {k8s: {service: {}}}}}",
            "components.pilot.k8s.service: there is no value",
        ),
        (
            "{components: {cni: {k8s: {env: []}}}}",
            "components.cni.k8s.env: there is no value for it; allowed here: resources",
        ),
        (
            "{components: {istiodRemote: {k8s: {env: []}}}}",
            "components.istiodRemote.k8s.env: there is no value for it; allowed here: nothing",
        ),
        ("{components: {pilot: {k8s: {env: {}}}}}", "k8s.env: want a list of names and values"),
        (
            "{components: {pilot: {k8s: {env: [{name: X, valueFrom: {}}]}}}}",
            "components.pilot.k8s.env[0].valueFrom: there is no value for it",
        ),
        (
            "{components: {pilot: {k8s: {strategy: {type: Recreate}}}}}",
            "components.pilot.k8s.strategy.type: 'Recreate'; want RollingUpdate",
        ),
        (HPA % "{name: memory}", "components.pilot.k8s.hpaSpec.metrics: want one Resource, cpu"),
        ("{components: {ingressGateways: {}}}", "ingressGateways: want a list of gateways"),
        (
            "{components: {ingressGateways: [{name: mine}]}}",
            "components.ingressGateways[0].name: 'mine'; want one of istio-ingressgateway, istio-i",
        ),
    ],
)
def test_what_does_not_map_is_refused(text: str, problem: str) -> None:
    with pytest.raises(NotMapped) as refused:
        read(text)
    assert problem in str(refused.value)

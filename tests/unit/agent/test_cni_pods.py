"""Which pods the CNI plugin captures, and by which rules (C6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mast.agent.capture_command import capture_of, parse
from mast.agent.core.capture import Capture
from mast.agent.core.cni.pods import arguments, reason_to_skip

Object = dict[str, Any]


def pod(**annotations: str) -> Object:
    """A pod as the injector leaves it."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": "web",
            "labels": {},
            "annotations": {"sidecar.istio.io/status": "{}", **annotations},
        },
        "spec": {
            "initContainers": [{"name": "istio-validation"}],
            "containers": [
                {"name": "web"},
                {"name": "istio-proxy", "args": ["proxy", "sidecar", "--domain", "x"]},
            ],
        },
    }


def proxy(of: Object) -> Object:
    found: Object = of["spec"]["containers"][1]
    return found


def native(of: Object) -> None:
    of["spec"]["initContainers"].append(of["spec"]["containers"].pop())


def test_a_sidecar_is_captured() -> None:
    assert reason_to_skip(pod(), ["kube-system"]) == ""
    found = pod()
    native(found)
    assert reason_to_skip(found, []) == "", "also one that is native"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p["metadata"].update(namespace="kube-system"), "kube-system is excluded"),
        (lambda p: p["metadata"]["labels"].update({"k8s-app": "istio-cni-node"}), "itself"),
        (lambda p: p["spec"]["initContainers"].append({"name": "istio-init"}), "istio-init"),
        (lambda p: p["spec"]["containers"].pop(), "no container istio-proxy"),
        (
            lambda p: proxy(p).update(env=[{"name": "DISABLE_ENVOY", "value": "true"}]),
            "DISABLE_ENVOY",
        ),
        (lambda p: proxy(p).update(args=["proxy", "--x=y", "router"]), "no sidecar"),
        (
            lambda p: p["metadata"]["labels"].update({"sidecar.istio.io/inject": "false"}),
            "inject is false",
        ),
        (
            lambda p: p["metadata"]["annotations"].update({"sidecar.istio.io/inject": "false"}),
            "inject is false",
        ),
        (lambda p: p["metadata"].update(annotations=None), "was not injected"),
        (
            lambda p: p["metadata"]["annotations"].update(
                {"sidecar.istio.io/interceptionMode": "NONE"}
            ),
            "is NONE",
        ),
    ],
)
def test_left_alone(change: Callable[[Object], Any], reason: str) -> None:
    found = pod()
    change(found)
    assert reason in reason_to_skip(found, ["kube-system"])


def test_the_label_beats_the_annotation() -> None:
    found = pod(**{"sidecar.istio.io/inject": "false"})
    found["metadata"]["labels"]["sidecar.istio.io/inject"] = "true"
    assert reason_to_skip(found, []) == ""


def capture(found: Object, *, native_nftables: bool = False) -> Capture:
    return capture_of(parse(arguments(found, native_nftables=native_nftables), {}), "")


def test_rules_without_annotations() -> None:
    assert capture(pod()) == Capture(
        inbound_ports=("*",),
        excluded_inbound_ports=("15020", "15021", "15090"),
        outbound_cidrs=("*",),
        excluded_outbound_ports=("15020",),
    )


def test_rules_by_annotations_and_variables() -> None:
    found = pod(
        **{
            "sidecar.istio.io/interceptionMode": "TPROXY",
            "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
            "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.1.0.0/16",
            "traffic.sidecar.istio.io/includeInboundPorts": "80,443",
            "traffic.sidecar.istio.io/excludeInboundPorts": "15020, 81",
            "traffic.sidecar.istio.io/includeOutboundPorts": "90",
            "traffic.sidecar.istio.io/excludeOutboundPorts": "91",
            "traffic.sidecar.istio.io/excludeInterfaces": "eth9",
            "traffic.sidecar.istio.io/kubevirtInterfaces": "old0",
            "istio.io/reroute-virtual-interfaces": "net1",
        }
    )
    names = ("ISTIO_META_DNS_CAPTURE", "INVALID_DROP")
    proxy(found)["env"] = [{"name": each, "value": "true"} for each in names]
    proxy(found)["securityContext"] = {"runAsUser": 0, "runAsGroup": 1338}
    assert capture(found) == Capture(
        mode="TPROXY",
        uids=("0",),
        gids=("1338",),
        inbound_ports=("80", "443"),
        excluded_inbound_ports=("15020", "15021", "15090", "81"),
        outbound_cidrs=("10.0.0.0/8",),
        excluded_outbound_cidrs=("10.1.0.0/16",),
        outbound_ports=("90",),
        excluded_outbound_ports=("91",),
        excluded_interfaces=("eth9",),
        kubevirt_interfaces=("net1",),
        redirect_dns=True,
        capture_all_dns=True,
        drop_invalid=True,
    )


def test_nftables_is_the_nodes() -> None:
    assert parse(arguments(pod(), native_nftables=True), {})["native_nftables"]
    assert not parse(arguments(pod()), {})["native_nftables"]

"""Probes that the kubelet hands over (citadel-and-agent.md B7)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from mast.agent.core.probers import GrpcProbe, HttpProbe, Probe, TcpProbe, probers

PATH = "/app-health/reviews/livez"


@pytest.mark.parametrize(
    ("value", "probe"),
    [
        pytest.param(
            {
                "httpGet": {
                    "port": 8080,
                    "path": "live",
                    "scheme": "https",
                    "httpHeaders": [{"name": "a", "value": "b"}],
                },
                "timeoutSeconds": 3,
            },
            HttpProbe(
                port=8080,
                path="/live",
                https=True,
                headers=(("a", "b"),),
                timeout=timedelta(seconds=3),
            ),
            id="http",
        ),
        pytest.param({"httpGet": {"port": "80"}}, HttpProbe(port=80, path="/"), id="defaults"),
        pytest.param({"tcpSocket": {"port": 1}}, TcpProbe(port=1), id="tcp"),
        pytest.param({"grpc": {"port": 1}}, GrpcProbe(port=1), id="grpc"),
        pytest.param(
            {"grpc": {"port": 1, "service": "s"}}, GrpcProbe(port=1, service="s"), id="grpc-service"
        ),
    ],
)
def test_probers(value: dict[str, Any], probe: Probe) -> None:
    assert probers(json.dumps({PATH: value})) == {PATH: probe}


def test_none() -> None:
    assert probers("") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "no JSON"),
        ("[]", "want a JSON object"),
        (json.dumps({PATH: {"exec": {}}}), f"{PATH}: want one of httpGet, tcpSocket, grpc"),
        (json.dumps({PATH: {"tcpSocket": {"port": "http"}}}), f"{PATH}: port 'http'"),
        (json.dumps({PATH: {"tcpSocket": {"port": 70000}}}), f"{PATH}: port '70000'"),
    ],
)
def test_unusable_probers_are_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"ISTIO_KUBE_APP_PROBERS.*{problem}"):
        probers(text)

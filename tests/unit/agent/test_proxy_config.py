"""ProxyConfig of several sources, and what follows from it (citadel-and-agent.md B1)."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.agent.core import proxy_config
from mast.agent.core.proxy_config import DEFAULTS, concurrency, merged


def as_dict(*overlays: dict[str, Any]) -> dict[str, Any]:
    sources = {f"source {number}": overlay for number, overlay in enumerate(overlays)}
    return dict(MessageToDict(merged(sources)))


def test_defaults() -> None:
    assert as_dict() == dict(DEFAULTS)


@pytest.mark.parametrize(
    ("overlays", "field", "value"),
    [
        pytest.param([{"statusPort": 1}, {}], "statusPort", 1, id="set-once"),
        pytest.param([{"statusPort": 1}, {"statusPort": 2}], "statusPort", 2, id="last-wins"),
        pytest.param([{"status_port": 3}], "statusPort", 3, id="proto-names-too"),
        pytest.param([{"statusPort": None}], "statusPort", 15020, id="null-is-not-set"),
        pytest.param([{"unheardOf": 1, "statusPort": 4}], "statusPort", 4, id="unknown-ignored"),
        pytest.param([{"drainDuration": "7s"}], "drainDuration", "7s", id="duration"),
        pytest.param(
            [{"proxyMetadata": {"A": "1", "B": "1"}}, {"proxyMetadata": {"B": "2", "C": "2"}}],
            "proxyMetadata",
            {"A": "1", "B": "2", "C": "2"},
            id="metadata-merges-by-key",
        ),
        pytest.param(
            [{"extraStatTags": ["a"]}, {"extraStatTags": ["b"]}],
            "extraStatTags",
            ["b"],
            id="lists-are-replaced",
        ),
        pytest.param(
            [
                {"tracing": {"sampling": 5, "zipkin": {"address": "z:1"}}},
                {"tracing": {"sampling": 9}},
            ],
            "tracing",
            {"sampling": 9.0},
            id="messages-are-replaced",
        ),
        pytest.param(
            [{"concurrency": 2}, {"concurrency": 0}], "concurrency", 0, id="explicit-zero-counts"
        ),
    ],
)
def test_merge(overlays: list[dict[str, Any]], field: str, value: object) -> None:
    assert as_dict(*overlays)[field] == value


def test_cluster_name_is_one_of_two() -> None:
    by_service = as_dict({"tracingServiceName": "CANONICAL_NAME_ONLY"}, {"serviceCluster": "x"})
    assert by_service["serviceCluster"] == "x"
    assert "tracingServiceName" not in by_service
    by_tracing = as_dict({"serviceCluster": "x"}, {"tracingServiceName": "CANONICAL_NAME_ONLY"})
    assert by_tracing["tracingServiceName"] == "CANONICAL_NAME_ONLY"
    assert "serviceCluster" not in by_tracing


@pytest.mark.parametrize(
    "overlay", [{"statusPort": "many"}, {"drainDuration": "soon"}, {"tracing": 3}], ids=str
)
def test_wrong_values_name_source_and_field(overlay: dict[str, Any]) -> None:
    (field,) = overlay
    with pytest.raises(ValueError, match=f"(?s)mesh file.*{field}"):
        merged({"mesh file": overlay})


@pytest.mark.parametrize(
    ("overlay", "flag", "limit", "threads"),
    [
        pytest.param({}, None, "", None, id="unset-one-per-core"),
        pytest.param({"concurrency": 4}, 2, "8", 2, id="flag-first"),
        pytest.param({"concurrency": 4}, None, "8", 4, id="then-proxy-config"),
        pytest.param({"concurrency": 0}, None, "8", 0, id="zero-means-all"),
        pytest.param({}, None, "3", 3, id="then-cpu-limit"),
        pytest.param({}, None, "2500m", 3, id="rounded-up"),
        pytest.param({}, None, "100m", 1, id="at-least-one"),
    ],
)
def test_concurrency(
    overlay: dict[str, Any], flag: int | None, limit: str, threads: int | None
) -> None:
    assert concurrency(merged({"x": overlay}), flag, limit) == threads


def test_wrong_cpu_limit_is_named() -> None:
    with pytest.raises(ValueError, match="ISTIO_CPU_LIMIT 'much'"):
        concurrency(merged({}), None, "much")


def answer(*messages: Message) -> bytes:
    response = DeltaDiscoveryResponse(nonce="n")
    for each in messages:
        response.resources.add().resource.Pack(each)
    return response.SerializeToString()


def test_what_pilot_says_for_a_start() -> None:
    config = ProxyConfig(
        discovery_address="a:1", status_port=1, mesh_id="m", proxy_metadata={"A": "b"}
    )
    config.concurrency.value = 3
    assert proxy_config.told_in(answer(config)) == {"concurrency": 3, "proxyMetadata": {"A": "b"}}
    assert proxy_config.told_in(answer()) == {}


@pytest.mark.parametrize("data", [b"\xff", answer(StringValue())], ids=["bytes", "type"])
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(ValueError, match="ProxyConfig"):
        proxy_config.told_in(data)

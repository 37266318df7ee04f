"""Load assignments without what gRPC rejects (pilot.md B29)."""

from typing import Any

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.json_format import MessageToDict, ParseDict

from mast.pilot.core.proxyless.endpoints import dialable


def endpoint(address: str, port: int = 80, weight: int = 1) -> dict[str, Any]:
    where: dict[str, Any] = {"socket_address": {"address": address, "port_value": port}}
    if address.startswith("/"):
        where = {"pipe": {"path": address}}
    return {"endpoint": {"address": where}, "load_balancing_weight": weight}


def group(*endpoints: dict[str, Any], weight: int = 1, priority: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"locality": {"region": "r"}, "lb_endpoints": list(endpoints)}
    if weight:
        made["load_balancing_weight"] = weight
    return {**made, "priority": priority} if priority else made


ONE, TWO = endpoint("10.0.0.1"), endpoint("10.0.0.2", weight=3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([group(ONE, TWO)], [group(ONE, TWO)], id="as-it-is"),
        pytest.param([group(ONE, ONE), group(ONE)], [group(ONE)], id="each-address-once"),
        pytest.param(
            [group(ONE, endpoint("10.0.0.1", 81))],
            [group(ONE, endpoint("10.0.0.1", 81))],
            id="ports-tell-apart",
        ),
        pytest.param([group(endpoint("/run/x"), ONE)], [group(ONE)], id="no-sockets"),
        pytest.param([group(endpoint("web.example"), ONE)], [group(ONE)], id="no-names"),
        pytest.param([group(ONE, weight=0), group(TWO)], [group(TWO)], id="no-weightless"),
        pytest.param(
            [group(endpoint("/x")), group(ONE, priority=1), group(TWO, priority=3)],
            [group(ONE), group(TWO, priority=1)],
            id="priorities-without-gaps",
        ),
        pytest.param([], [], id="none"),
    ],
)
def test_dialable(given: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    made = dialable(ParseDict({"cluster_name": "c", "endpoints": given}, ClusterLoadAssignment()))
    told = MessageToDict(made, preserving_proto_field_name=True)
    assert told == {"cluster_name": "c", **({"endpoints": expected} if expected else {})}


def test_what_only_proxies_need_is_left_out() -> None:
    given = group({**ONE, "metadata": {"filter_metadata": {"istio": {"workload": "w"}}}})
    made = dialable(ParseDict({"endpoints": [given]}, ClusterLoadAssignment()))
    assert not made.endpoints[0].lb_endpoints[0].HasField("metadata")

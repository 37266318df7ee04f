"""References that lead nowhere are told once, in the status of the object that has them (I8)."""

from tests.support.gateway_api import GATEWAY, HTTP, conditions, described, told
from tests.support.mesh_yaml import world

ROUTE = described(
    "HTTPRoute",
    "r",
    "shop",
    "{parentRefs: [{name: web, namespace: edge}],"
    " rules: [{backendRefs: [{name: a, port: 80}, {name: b, port: 80}]}]}",
)
TCP = described("TCPRoute", "t", "shop", "{parentRefs: [{name: web, namespace: edge}],"
                " rules: [{backendRefs: [{name: a, port: 80}]}]}")  # fmt: skip
STREAMS = "  - {name: tcp, port: 90, protocol: TCP, allowedRoutes: {namespaces: {from: All}}}\n"


def test_a_missing_backend_is_a_condition_and_no_finding_besides() -> None:
    texts = (GATEWAY + STREAMS + HTTP, ROUTE, TCP)
    for name in ("HTTPRoute shop/r", "TCPRoute shop/t"):
        (parent,) = told(*texts)[name]["parents"]
        assert conditions(parent["conditions"])["ResolvedRefs"] == "!BackendNotFound"
    snapshot = world(*texts).snapshot(1)
    assert not [each for each in snapshot.findings() if "unresolved" in each.message]

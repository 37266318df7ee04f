"""Listeners of gRPC servers: what they do without is told (pilot.md B29)."""

from mast.pilot.core.model.finding import Fault
from mast.pilot.core.proxyless.listeners import server_listener
from mast.pilot.core.proxyless.names import ServerAddress
from tests.support.mesh_yaml import reported, scope, sidecar_proxy

POLICIES = """
{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {name: NAME, namespace: shop},
 spec: {selector: {matchLabels: {app: NAME}}, jwtRules: [{issuer: a}]}}
"""


def test_nobody_checks_tokens() -> None:
    proxy = sidecar_proxy("shop", labels={"app": "web"})
    seen = scope(proxy, *(POLICIES.replace("NAME", each) for each in ("web", "other")))
    address = ServerAddress("0.0.0.0", 7070)  # noqa: S104
    found = reported(seen, lambda own: server_listener("server", address, own, proxy))
    assert [(each.fault, each.subject.name, each.key) for each in found if each.subject] == [
        (Fault.PROXYLESS, "web", "server")
    ]
    assert "the check of tokens" in found[0].message

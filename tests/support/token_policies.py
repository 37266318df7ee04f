"""Policies about tokens, workloads that have them, and issuers of tokens good and bad."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.guarded_envoy import EDGE, Guarded, guarded_envoy
from tests.support.tokens import Issuer, key_set

A = Issuer("https://a.test")
A_LATER = Issuer("https://a.test", kid="k2", key=Issuer("https://later.test").private)
B = Issuer("https://b.test", "ES256")
C = Issuer("https://c.test", "EdDSA")
SHARED = Issuer("https://shared.test", "HS256")
STRANGER = Issuer("https://stranger.test")
FORGER = Issuer("https://a.test", key=STRANGER.private)
FAR = 9_999_999_999
"""Seconds since 1970 that no test lives to see."""


def rule(issuer: Issuer, **fields: Any) -> dict[str, Any]:
    return {"issuer": issuer.name, "jwks": issuer.jwks, **fields}


def policy(workload: str, *rules: Any, namespace: str = "shop", name: str = "") -> str:
    selector = {"istio": "ingressgateway"} if workload == EDGE else {"app": workload}
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": name or workload, "namespace": namespace},
            "spec": {"selector": {"matchLabels": selector}, "jwtRules": rules},
        }
    )


MEMBERS = """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: members, namespace: shop},
 spec: {selector: {matchLabels: {app: members}}, rules: [
   {from: [{source: {requestPrincipals: ["https://a.test/*"]}}], to: [{operation: {paths: [/a]}}]},
   {to: [{operation: {paths: [/admin]}}], when: [
     {key: "request.auth.claims[org][team]", values: [blue]},
     {key: request.auth.audiences, values: [shop]}]},
   {to: [{operation: {paths: [/any]}}], from: [{source: {requestPrincipals: ["*"]}}]}]}}
"""
CLAIMS = [{"header": "x-user", "claim": "sub"}, {"header": "x-team", "claim": "org.team"}]
POLICIES = [
    policy("plain", rule(A)),
    policy("audience", rule(A, audiences=["shop", "bank"])),
    policy("forward", rule(A, forwardOriginalToken=True)),
    policy("places", rule(A, fromParams=["token"], fromCookies=["session"], fromHeaders=[
        {"name": "x-token", "prefix": "Token "}, {"name": "x-bare"}])),
    policy("output", rule(A, outputClaimToHeaders=CLAIMS, outputPayloadToHeader="x-payload")),
    policy("issuers", rule(A, outputClaimToHeaders=CLAIMS), rule(B),
           rule(C, fromHeaders=[{"name": "x-c"}]), rule(SHARED)),
    policy("two-policies", rule(A), name="first"),
    policy("two-policies", rule(B), name="second"),
    policy("root", rule(A), namespace="istio-system", name="root"),
    policy("keyless", {"issuer": A.name, "jwksUri": "https://down.test/keys"}),
    policy("odd-keys", {"issuer": A.name, "jwks": json.dumps({"keys": [
        {"kty": "RSA", "kid": "k1"}, {"kty": "oct"}, {"kty": "?"}, A.jwk]})}),
    policy("useless-keys", {"issuer": A.name, "jwks": json.dumps({"keys": [{"kty": "RSA"}]})}),
    policy("members", rule(A), rule(B)),
    MEMBERS,
    policy("rotating", {"issuer": A.name, "jwks": key_set(A, A_LATER)}),
    policy(EDGE, rule(A, spaceDelimitedClaims=["roles"]), namespace=EDGE),
]  # fmt: skip
WORKLOADS = (
    "open", "plain", "audience", "forward", "places", "output", "issuers", "two-policies", "root",
    "keyless", "odd-keys", "useless-keys", "rotating", "members",
)  # fmt: skip


ROUTES = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: {EDGE}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: claims, namespace: {EDGE}}}
spec:
  hosts: [claims.test]
  gateways: [edge]
  http:
  - match: [{{headers: {{"@request.auth.claims.group": {{exact: admin}}}}}}]
    route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: group}}}}}}}}]
  - match: [{{headers: {{"@request.auth.claims[org.name][unit]": {{prefix: eng}}}}}}]
    route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: nested}}}}}}}}]
  - match: [{{headers: {{"@request.auth.claims.scope": {{exact: write}}}}}}]
    route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: scope}}}}}}}}]
  - match: [{{headers: {{"@request.auth.claims.roles": {{exact: chief}}}}}}]
    route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: roles}}}}}}}}]
  - match: [{{withoutHeaders: {{"@request.auth.claims.sub": {{}}}}, uri: {{prefix: /nobody}}}}]
    route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: nobody}}}}}}}}]
  - route: [{{destination: {{host: plain.shop.svc.cluster.local}}, headers: {{request: {{set: {{x-route: rest}}}}}}}}]
"""  # noqa: E501


@asynccontextmanager
async def token_site() -> AsyncIterator[Guarded]:
    """All of these in one Envoy: a workload is a set of policies."""
    with TemporaryDirectory() as directory:
        async with guarded_envoy(
            Path(directory), WORKLOADS, *POLICIES, ROUTES, with_gateway=True
        ) as running:
            yield running


def bearer(token: str) -> dict[str, str]:
    """Where tokens are usually."""
    return {"authorization": f"Bearer {token}"}

"""Which policies are about a workload, of both generations, and which count first."""

from __future__ import annotations

import pytest

from mast.cli.explain.policies import of_connections, of_requests
from mast.cli.explain.site import Surroundings
from mast.cli.explain.verdict import Call, Verdict, verdict
from tests.support.envoy_dumps import NODE, mesh

MESH_WIDE = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: mesh, namespace: istio-system},
 spec: {mtls: {mode: PERMISSIVE}}}
"""
SELECTING = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: own},
 spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}}
"""
OTHERS = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: others},
 spec: {selector: {matchLabels: {app: ratings}}}}
"""
OF_THE_SERVICE = """
{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: reviews},
 spec: {targets: [{name: reviews}], peers: [{mtls: {}}],
        origins: [{jwt: {issuer: us, jwks: '{"keys": [{"kty": "oct", "k": "eA"}]}'}}]}}
"""
OF_THE_MESH = """
{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default},
 spec: {peers: [{mtls: {}}]}}
"""
TOKENS = """
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens},
 spec: {jwtRules: [{issuer: us, jwks: '{"keys": [{"kty": "oct", "k": "eA"}]}'}]}}
"""
RULES = """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: rules},
 spec: {rules: [{}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: elsewhere},
 spec: {selector: {matchLabels: {app: ratings}}, rules: [{}]}}
"""
ROLES = """
{apiVersion: rbac.istio.io/v1alpha1, kind: ClusterRbacConfig, metadata: {name: default},
 spec: {mode: "ON"}}
---
{apiVersion: rbac.istio.io/v1alpha1, kind: ServiceRole, metadata: {name: viewer},
 spec: {rules: [{services: ["*"], methods: [GET]}]}}
---
{apiVersion: rbac.istio.io/v1alpha1, kind: ServiceRoleBinding, metadata: {name: viewers},
 spec: {subjects: [{user: "*"}], roleRef: {kind: ServiceRole, name: viewer}}}
"""
STRICT = "PeerAuthentication default/strict spec.mtls.mode"


def about(*texts: str) -> tuple[list[str], list[str]]:
    """Policies about requests and about connections, without their places in files."""
    around = Surroundings(mesh(*texts))
    side = around.side(next(each for each in around.mesh.nodes if each.id == NODE))
    found = (of_requests(side, around.causes, 9080), of_connections(side, around.causes, 9080))
    requests, connections = ([str(each).partition(" (")[0] for each in every] for every in found)
    return requests, connections


@pytest.mark.parametrize(
    ("texts", "connections"),
    [
        pytest.param([], [STRICT], id="namespace"),
        pytest.param(
            [MESH_WIDE],
            [STRICT, "PeerAuthentication istio-system/mesh spec.mtls.mode"],
            id="namespace-before-mesh",
        ),
        pytest.param(
            [SELECTING, OTHERS, OF_THE_SERVICE],
            ["PeerAuthentication default/own spec.portLevelMtls.9080", STRICT],
            id="selecting-first",
        ),
        pytest.param([OF_THE_SERVICE], ["Policy default/reviews spec.peers", STRICT], id="service"),
        pytest.param(
            [OF_THE_MESH], [STRICT, "MeshPolicy default spec.peers"], id="old-default-of-the-mesh"
        ),
        pytest.param(
            [OF_THE_MESH, MESH_WIDE],
            [STRICT, "PeerAuthentication istio-system/mesh spec.mtls.mode"],
            id="new-default-of-the-mesh",
        ),
    ],
)
def test_mutual_tls(texts: list[str], connections: list[str]) -> None:
    assert about(*texts)[1] == connections


@pytest.mark.parametrize(
    ("texts", "requests"),
    [
        pytest.param([], [], id="none"),
        pytest.param([TOKENS], ["RequestAuthentication default/tokens"], id="tokens"),
        pytest.param([OF_THE_SERVICE], ["Policy default/reviews spec.origins"], id="old-tokens"),
        pytest.param([RULES], ["AuthorizationPolicy default/rules"], id="rules"),
        pytest.param(
            [ROLES],
            ["ClusterRbacConfig default spec.mode", "ServiceRoleBinding default/viewers"],
            id="roles",
        ),
        pytest.param([ROLES, RULES], ["AuthorizationPolicy default/rules"], id="rules-not-roles"),
    ],
)
def test_tokens_and_access(texts: list[str], requests: list[str]) -> None:
    assert about(*texts)[0] == requests


def judged(text: str, **asked: str) -> Verdict:
    around = Surroundings(mesh(text))
    side = around.side(next(each for each in around.mesh.nodes if each.id == NODE))
    call = Call(port=9080, principal="cluster.local/ns/default/sa/pp", **asked)  # type: ignore[arg-type]
    return verdict(call, side, around)


def test_roles_are_named() -> None:
    allowed = judged(ROLES)
    assert allowed.decided is not None
    assert "ServiceRole default/viewer spec" in str(allowed.decided.cause)
    refused = judged(ROLES, method="POST")
    assert refused.last.result == "ALLOW: refused with 403: no rule matches"
    assert refused.story.access[-1].lacking == "method is POST, not GET"


@pytest.mark.parametrize(
    ("roles", "cause"),
    [
        pytest.param(ROLES.replace("name: viewer}", "name: viewer, namespace: istio-system}", 1)
        .replace("roleRef: {kind: ServiceRole, name: viewer}", "role: /viewer"),
        "ServiceRole istio-system/viewer spec", id="root"),
        pytest.param(ROLES.replace("roleRef: {kind: ServiceRole, name: viewer}",
                                   'actions: [{services: ["*"]}]'),
        "ServiceRoleBinding default/viewers spec", id="binding"),
    ],
)  # fmt: skip
def test_where_roles_may_stand(roles: str, cause: str) -> None:
    allowed = judged(roles)
    assert allowed.decided is not None
    assert cause in str(allowed.decided.cause)

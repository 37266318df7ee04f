"""What tokens say is an attribute of Mixer's checks (mixer_proxy.md C.5, pilot.md J2)."""

import json
from dataclasses import replace
from pathlib import Path

import grpc.aio

from mast.mixer.api import ext_authz
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckVerdict, Condition, Reference
from mast.mixer.core.values import Attributes
from tests.integration.mixer.bench import DENIAL, PLACE, clock
from tests.support.guarded_envoy import guarded_envoy
from tests.support.mixer_mesh import (
    MIXER_PORT,
    POLICY,
    Pods,
    ScriptedEngine,
    admit_all,
    allow,
    mixer,
)
from tests.support.tokens import Issuer

ISSUER = Issuer("https://issuer.test")
MESH = f"""
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}},
 spec: {{mixerCheckServer: "{POLICY}:{MIXER_PORT}", disablePolicyChecks: false}}}}
"""
TOKENS = json.dumps(
    {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "shop"},
        "spec": {"jwtRules": [{"issuer": ISSUER.name, "jwks": ISSUER.jwks}]},
    }
)
RULES = """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: rules, namespace: shop},
 spec: {action: DENY, rules: [{to: [{operation: {paths: [/denied]}}]}]}}
"""
SAID = {"aud": ["shop", "bank"], "azp": "app", "groups": ["a", "b"], "level": 5}


def by_principal(found: Attributes) -> CheckVerdict:
    """Whoever has a token may pass, nobody else."""
    known = "request.auth.principal" in found
    how = Condition.EXACT if known else Condition.ABSENCE
    verdict = allow() if known else DENIAL
    return replace(verdict, referenced=(Reference("request.auth.principal", None, how),))


async def test_claims_are_attributes_of_checks(tmp_path: Path) -> None:
    """Of good tokens; bad ones and requests that rules refuse never get as far as a check.

    Proxies know who has been checked (K, row request.auth.*).
    """
    engine = ScriptedEngine(by_principal)

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, Pods(), ClientConfig, admit_all(), clock)

    async with (
        mixer(register) as port,
        guarded_envoy(
            tmp_path,
            ["web"],
            MESH,
            TOKENS,
            RULES,
            grpc_servers={f"outbound|{MIXER_PORT}||{POLICY}": port},
            environment=PLACE,
        ) as site,
    ):
        good = {"authorization": f"Bearer {ISSUER.token(SAID)}"}
        other = {"authorization": f"Bearer {ISSUER.token({**SAID, 'sub': 'other'})}"}
        bad = {"authorization": "Bearer bad"}
        statuses = [
            (await site.ask("web", path, headers)).status
            for path, headers in (
                ("/", good),
                ("/", {}),
                ("/", bad),
                ("/denied", good),
                ("/again", good),
                ("/", other),
            )
        ]
    assert statuses == [200, 403, 401, 403, 200, 200]
    first, second, third = engine.checked
    claims = first["request.auth.claims"]
    assert isinstance(claims, dict)
    assert {name: first[f"request.auth.{name}"] for name in ("principal", "audiences")} == {
        "principal": "https://issuer.test/user",
        "audiences": "shop",
    }
    assert first["request.auth.presenter"] == third["request.auth.presenter"] == "app"
    assert third["request.auth.principal"] == "https://issuer.test/other"
    assert claims["groups"] == "a,b"
    assert not [name for name in second if name.startswith("request.auth.")]

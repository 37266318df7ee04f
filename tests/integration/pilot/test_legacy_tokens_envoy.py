"""Authentication policies of Istio 1.0 to 1.4 in a real Envoy: which tokens pass (pilot.md J8)."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from typer.testing import CliRunner

from mast.cli.main import app
from tests.support.guarded_envoy import Guarded, guarded_envoy
from tests.support.tokens import Issuer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE, TWO = Issuer("https://one.test", "ES256"), Issuer("two@test", "ES256")
STRANGER = Issuer("https://one.test", "ES256", kid="stranger")


def origin(issuer: Issuer = ONE, **more: Any) -> dict[str, Any]:
    return {"jwt": {"issuer": issuer.name, "jwks": issuer.jwks, **more}}


def triggered(*rules: Mapping[str, Any], issuer: Issuer = ONE) -> dict[str, Any]:
    return origin(issuer, triggerRules=list(rules))


PUBLIC = [{"prefix": "/health"}, {"suffix": ".css"}, {"exact": "/x"}]
VERSIONED = [{"regex": "/api/v[0-9]"}]
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "required": {"origins": [origin()]},
    "optional": {"origins": [origin()], "originIsOptional": True},
    "either": {"origins": [origin(), origin(TWO)]},
    "audience": {"origins": [origin(audiences=["web"])]},
    "places": {"origins": [origin(jwtHeaders=["x-token"], jwtParams=["token"])]},
    "excluded": {
        "origins": [
            triggered(
                {"excludedPaths": [{"prefix": "/health"}, {"suffix": ".css"}, {"exact": "/x"}]}
            )
        ]
    },
    "included": {
        "origins": [
            triggered(
                {
                    "includedPaths": [{"prefix": "/api"}],
                    "excludedPaths": [{"regex": "/api/v[0-9]"}],
                },
                {"includedPaths": [{"exact": "/it's(a)%2A"}]},
            )
        ]
    },
    "parts": {
        "origins": [
            triggered({"includedPaths": [{"prefix": "/one"}, {"exact": "/both"}]}),
            triggered({"includedPaths": [{"prefix": "/two"}, {"exact": "/both"}]}, issuer=TWO),
        ],
        "originIsOptional": False,
    },
    "mixed": {
        "origins": [triggered({"includedPaths": [{"prefix": "/one"}]}), origin(TWO)],
    },
}


SAMPLES = Path(__file__).parents[3] / "samples" / "bookinfo" / "security"
SAMPLE = "productpage"


def policy(name: str, spec: Mapping[str, Any]) -> str:
    return json.dumps(
        {
            "apiVersion": "authentication.istio.io/v1alpha1",
            "kind": "Policy",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"targets": [{"name": name}], **spec},
        }
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    sample = yaml.safe_load((SAMPLES / "tokens-1.4.yaml").read_text())["spec"]
    # There are no certificates here.
    policies = {**POLICIES, SAMPLE: {**sample, "peers": []}}
    texts = [policy(name, spec) for name, spec in policies.items()]
    async with guarded_envoy(tmp_path_factory.mktemp("envoy"), policies, *texts) as found:
        yield found


def bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"}


NONE: Mapping[str, str] = {}
OF_ONE, OF_TWO = bearer(ONE.token({"aud": ["web"]})), bearer(TWO.token())
FORGED, OLD = bearer(STRANGER.token()), bearer(ONE.token({"exp": 1}))


@pytest.mark.parametrize(
    ("name", "path", "headers", "status"),
    [
        pytest.param("required", "/", NONE, 401, id="required-missing"),
        pytest.param("required", "/", OF_ONE, 200, id="required-good"),
        pytest.param("required", "/", FORGED, 401, id="required-forged"),
        pytest.param("required", "/", OLD, 401, id="required-expired"),
        pytest.param("required", "/", OF_TWO, 401, id="required-other-issuer"),
        pytest.param("optional", "/", NONE, 200, id="optional-missing"),
        pytest.param("optional", "/", OF_ONE, 200, id="optional-good"),
        pytest.param("optional", "/", FORGED, 200, id="optional-forged"),
        pytest.param("either", "/", OF_ONE, 200, id="first"),
        pytest.param("either", "/", OF_TWO, 200, id="second"),
        pytest.param("either", "/", NONE, 401, id="neither"),
        pytest.param("audience", "/", OF_ONE, 200, id="audience"),
        pytest.param("audience", "/", bearer(ONE.token({"aud": "x"})), 403, id="other-audience"),
        pytest.param("places", "/", {"x-token": ONE.token()}, 200, id="header"),
        pytest.param("places", f"/?token={ONE.token()}", NONE, 200, id="parameter"),
        pytest.param("places", "/", OF_ONE, 401, id="usual-place-not-looked-at"),
        pytest.param("excluded", "/health/x?y=1", NONE, 200, id="excluded-prefix"),
        pytest.param("excluded", "/a/b.css", NONE, 200, id="excluded-suffix"),
        pytest.param("excluded", "/a/b?c=.css", NONE, 401, id="query-is-no-suffix"),
        pytest.param("excluded", "/x", NONE, 200, id="excluded-exact"),
        pytest.param("excluded", "/x?a", NONE, 200, id="excluded-exact-with-query"),
        pytest.param("excluded", "/xy", NONE, 401, id="not-excluded"),
        pytest.param("excluded", "/", OF_ONE, 200, id="not-excluded-good"),
        pytest.param("excluded", "/x", FORGED, 200, id="excluded-forged"),
        pytest.param("included", "/", NONE, 200, id="not-included"),
        pytest.param("included", "/api", NONE, 401, id="included"),
        pytest.param("included", "/api", OF_ONE, 200, id="included-good"),
        pytest.param("included", "/api/v1", NONE, 200, id="included-and-excluded"),
        pytest.param("included", "/api/v1/x", NONE, 401, id="expression-fits-all-of-a-path"),
        pytest.param("included", "/api/x?/api/v1", NONE, 401, id="query-is-no-path"),
        pytest.param("included", "/it's(a)%2A", NONE, 401, id="signs-mean-themselves"),
        pytest.param("included", "/its(a)%2A", NONE, 200, id="other-signs"),
        pytest.param("parts", "/", NONE, 200, id="no-part"),
        pytest.param("parts", "/one", OF_ONE, 200, id="one-part"),
        pytest.param("parts", "/one", OF_TWO, 401, id="one-part-with-the-other"),
        pytest.param("parts", "/two", OF_TWO, 200, id="other-part"),
        pytest.param("parts", "/two", OF_ONE, 401, id="other-part-with-the-one"),
        pytest.param("parts", "/both", OF_TWO, 200, id="both-parts"),
        pytest.param("parts", "/both", NONE, 401, id="both-parts-missing"),
        pytest.param("mixed", "/", OF_ONE, 401, id="always-the-other"),
        pytest.param("mixed", "/one", OF_ONE, 200, id="there-the-one-too"),
        pytest.param("mixed", "/one", OF_TWO, 200, id="there-the-other"),
    ],
)  # fmt: skip
async def test_tokens(
    name: str, path: str, headers: Mapping[str, str], status: int, site: Guarded
) -> None:
    reply = await site.ask(name, path, headers)
    assert reply.status == status


async def test_the_sample(site: Guarded) -> None:
    asked = ["sign", str(SAMPLES / "demo.jwk"), "--issuer", "https://bookinfo.example.com"]
    signed = CliRunner().invoke(app, ["jwt", *asked, "--subject", "jason"]).stdout.strip()
    assert (await site.ask(SAMPLE, "/productpage")).status == 401
    assert (await site.ask(SAMPLE, "/health")).status == 200
    assert (await site.ask(SAMPLE, "/productpage", bearer(signed))).status == 200

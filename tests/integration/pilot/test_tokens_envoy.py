"""Tokens of end users before a real Envoy: good, bad, forged and garbled ones (pilot.md J2).

Acceptance 26.
"""

import base64
import hmac
import json
import random
import string
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests.support.guarded_envoy import Guarded
from tests.support.token_policies import FAR, FORGER, SHARED, STRANGER, A, B, bearer, token_site
from tests.support.tokens import base64url, encoded, public_pem

pytestmark = pytest.mark.asyncio(loop_scope="module")

LETTERS = f"{string.ascii_letters}{string.digits}-_"
NO_KEY = b"Jwks doesn't have key to match kid or alg from Jwt"
BAD_SIGNATURE = b"Jwt verification fails"
EXPIRED, TOO_EARLY = b"Jwt is expired", b"Jwt not yet valid"
UNKNOWN_ISSUER = b"Jwt issuer is not configured"
WRONG_AUDIENCE = b"Audiences in Jwt are not allowed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Guarded]:
    async with token_site() as running:
        yield running


def confused(claims: Mapping[str, Any], secret: bytes, **header: Any) -> str:
    """A token signed with what everybody knows of A as if it were a shared secret."""
    content = f"{encoded({'alg': 'HS256', **header})}.{encoded(claims)}"
    return f"{content}.{base64url(hmac.digest(secret, content.encode(), 'sha256'))}"


def unsigned(algorithm: str, signature: str = "") -> str:
    claims = encoded({"iss": A.name, "sub": "user", "exp": FAR})
    return f"{encoded({'alg': algorithm, 'kid': A.kid})}.{claims}.{signature}"


SAID = {"iss": A.name, "sub": "user", "exp": FAR}
MODULUS = base64.urlsafe_b64decode(A.jwk["n"] + "==")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(A.token(), b"", id="good"),
        pytest.param(A.token({"exp": None}), b"", id="without-end"),
        pytest.param(A.token(header={"kid": None}), b"", id="without-key-id"),
        pytest.param(A.token({"exp": 1}), EXPIRED, id="expired"),
        pytest.param(A.token({"nbf": FAR}), TOO_EARLY, id="not-yet-valid"),
        pytest.param(STRANGER.token(), UNKNOWN_ISSUER, id="of-a-stranger"),
        pytest.param(A.token({"iss": None}), UNKNOWN_ISSUER, id="of-nobody"),
        pytest.param(A.token({"iss": "https://a.test/"}), UNKNOWN_ISSUER, id="almost-the-issuer"),
        pytest.param(FORGER.token(), BAD_SIGNATURE, id="signed-by-a-stranger"),
        pytest.param(FORGER.token(header={"kid": None}), BAD_SIGNATURE, id="without-key-id-either"),
        pytest.param(A.token()[:-5] + "AAAAA", BAD_SIGNATURE, id="changed-signature"),
        pytest.param(
            ".".join([A.token().split(".")[0], encoded(SAID), A.token().split(".")[2]]),
            BAD_SIGNATURE,
            id="changed-claims",
        ),
        pytest.param(A.token(header={"kid": "other"}), NO_KEY, id="unknown-key"),
        pytest.param(A.token(header={"kid": "../../k1"}), NO_KEY, id="path-as-key-id"),
        pytest.param(A.token(header={"kid": "k1\x00"}), NO_KEY, id="zero-byte-in-key-id"),
        pytest.param(A.token(header={"kid": "' OR 1=1 --"}), NO_KEY, id="sql-as-key-id"),
        pytest.param(
            FORGER.token(header={"kid": None, "jwk": STRANGER.jwk, "jku": "https://evil.test"}),
            BAD_SIGNATURE,
            id="brings-its-own-key",
        ),
        pytest.param(A.token(header={"alg": "RS512"}), NO_KEY, id="another-algorithm"),
        pytest.param(confused(SAID, public_pem(A.private)), NO_KEY, id="public-key-as-secret"),
        pytest.param(
            confused(SAID, public_pem(A.private), kid=A.kid), NO_KEY, id="public-key-by-its-id"
        ),
        pytest.param(confused(SAID, MODULUS), NO_KEY, id="modulus-as-secret"),
        pytest.param(confused(SAID, b""), NO_KEY, id="empty-secret"),
    ],
)  # fmt: skip
async def test_tokens(site: Guarded, token: str, reason: bytes) -> None:
    reply = await site.ask("plain", headers=bearer(token))
    assert (reply.status, "" if reply.status == 200 else reply.body) == (
        (401, reason) if reason else (200, "")
    )
    assert ('error="invalid_token"' in reply.header("www-authenticate")) is bool(reason)


@pytest.mark.parametrize(
    "token",
    [
        *(pytest.param(unsigned(each), id=f"alg-{each or 'empty'}")
          for each in ("none", "None", "nOnE", "NONE", "")),
        pytest.param(unsigned("none", "AAAA"), id="alg-none-with-signature"),
        pytest.param(A.token().rpartition(".")[0] + ".", id="signature-left-out"),
        pytest.param(A.token().rpartition(".")[0], id="two-parts"),
        pytest.param(A.token() + ".AAAA", id="four-parts"),
        pytest.param("...", id="dots"),
        pytest.param("a.b.c", id="letters"),
        pytest.param("{}.{}.{}", id="braces"),
        pytest.param(f"{base64url(b'{')}.{base64url(b'{')}.AAAA", id="half-json"),
        pytest.param(f"{base64url(b'[]')}.{base64url(b'1')}.AAAA", id="no-objects"),
        pytest.param(A.signed(encoded({"alg": "RS256"}), base64url(b"[]")), id="claims-list"),
        pytest.param(A.signed(encoded({"alg": ["RS256"]}), encoded(SAID)), id="alg-list"),
        pytest.param(A.signed(encoded({"alg": "RS256", "kid": 5}), encoded(SAID)), id="kid-number"),
        pytest.param(A.token({"exp": "soon"}), id="exp-text"),
        pytest.param(A.token({"exp": -1}), id="exp-negative"),
        pytest.param(A.token({"nbf": [1]}), id="nbf-list"),
        pytest.param(A.token({"aud": {"a": 1}}), id="aud-object"),
        pytest.param(A.token({"iss": [A.name]}), id="iss-list"),
        pytest.param("A" * 30_000, id="long"),
        pytest.param(A.token() + " " + A.token(), id="two-in-one"),
        pytest.param(A.token().replace(".", "%2e"), id="percent"),
    ],
)  # fmt: skip
async def test_garbage(site: Guarded, token: str) -> None:
    """Everything that is no good token is refused, and Envoy goes on."""
    assert (await site.ask("plain", headers=bearer(token))).status == 401
    assert (await site.ask("plain", headers=bearer(A.token()))).status == 200


async def test_no_changed_token_passes(site: Guarded) -> None:
    """Whatever letter of a good token is another one, of keys of each kind."""
    chosen = random.Random(7)  # noqa: S311 - the same letters each time
    passed = []
    for issuer in (A, B, SHARED):
        token = issuer.token()
        # The last letters of parts have bits that mean nothing.
        places = [at for at in range(len(token) - 1) if "." not in token[at : at + 2]]
        for at in chosen.sample(places, 100):
            letter = chosen.choice([each for each in LETTERS if each != token[at]])
            changed = f"{token[:at]}{letter}{token[at + 1 :]}"
            reply = await site.ask("issuers", headers=bearer(changed))
            passed += [changed] if reply.status != 401 else []
    assert passed == []


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"authorization": "Basic dTpw"}, id="basic"),
        pytest.param({"x-token": "bad"}, id="elsewhere"),
    ],
)
async def test_no_token_passes(site: Guarded, headers: dict[str, str]) -> None:
    for name in ("plain", "issuers", "two-policies", "keyless"):
        assert (await site.ask(name, headers=headers)).status == 200


async def test_without_policies_nobody_looks(site: Guarded) -> None:
    assert (await site.ask("open", headers=bearer("bad"))).status == 200


@pytest.mark.parametrize(
    ("audience", "status"),
    [
        pytest.param("shop", 200, id="one"),
        pytest.param(["x", "bank"], 200, id="one-of-several"),
        pytest.param("other", 403, id="another"),
        pytest.param(["shopping"], 403, id="longer"),
        pytest.param([], 403, id="empty"),
        pytest.param(None, 403, id="none"),
    ],
)
async def test_audiences(site: Guarded, audience: object, status: int) -> None:
    """A token for somebody else is known, but not allowed: Envoy says 403."""
    reply = await site.ask("audience", headers=bearer(A.token({"aud": audience})))
    assert reply.status == status
    assert status == 200 or reply.body == WRONG_AUDIENCE


@pytest.mark.parametrize(
    ("place", "left"),
    [
        pytest.param({"x-token": "Token TOKEN"}, "", id="header"),
        pytest.param({"x-bare": "TOKEN"}, "", id="header-without-prefix"),
        pytest.param({"cookie": "a=b; session=TOKEN; c=d"}, "TOKEN", id="cookie"),
        pytest.param({"path": "/x?a=1&token=TOKEN&b=2"}, "", id="parameter"),
    ],
)
async def test_places(site: Guarded, place: dict[str, str], left: str) -> None:
    """Where a rule says so, and nowhere else; a good one goes no further, but in cookies."""
    for token, status in ((A.token(), 200), (A.token({"exp": 1}), 401), ("bad", 401)):
        headers = {name: value.replace("TOKEN", token) for name, value in place.items()}
        path = headers.pop("path", "/")
        reply = await site.ask("places", path, headers)
        assert reply.status == status
        if status == 200:
            seen = json.dumps([reply.echo.path, reply.echo.headers])
            assert (token in seen) is bool(left)
    assert (await site.ask("places", headers=bearer("bad"))).status == 200
    assert (await site.ask("places", "/?access_token=bad")).status == 200


async def test_the_usual_places(site: Guarded) -> None:
    for path, headers in (
        ("/", bearer(A.token())),
        (f"/x?a=1&access_token={A.token()}", {}),
    ):
        reply = await site.ask("plain", path, headers)
        assert (reply.status, reply.echo.header("authorization")) == (200, "")
        assert reply.echo.path in ("/", "/x?a=1")


async def test_a_token_is_forwarded_if_asked_for(site: Guarded) -> None:
    token = A.token()
    reply = await site.ask("forward", headers=bearer(token))
    assert reply.echo.header("authorization") == f"Bearer {token}"
    reply = await site.ask("forward", f"/?access_token={token}")
    assert reply.echo.path == f"/?access_token={token}"


async def test_all_tokens_must_be_good(site: Guarded) -> None:
    """The application might believe the other one."""
    good, bad = A.token(), A.token({"exp": 1})
    for path, headers, status in (
        (f"/?access_token={good}", bearer(good), 200),
        (f"/?access_token={bad}", bearer(good), 401),
        (f"/?access_token={good}", bearer(bad), 401),
        ("/?access_token=", bearer(good), 401),
    ):
        assert (await site.ask("plain", path, headers)).status == status
    for session in (good, bad):
        headers = {"x-token": f"Token {good}", "cookie": f"session={session}"}
        status = 200 if session is good else 401
        assert (await site.ask("places", headers=headers)).status == status


async def test_claims_become_headers(site: Guarded) -> None:
    token = A.token({"sub": "ann", "org": {"team": "blue"}})
    forged = {"x-user": "admin", "x-team": "red", "x-payload": "e30"}
    reply = await site.ask("output", headers={**bearer(token), **forged})
    assert reply.echo.header("x-user") == "ann"
    assert reply.echo.header("x-team") == "blue"
    payload = base64.urlsafe_b64decode(reply.echo.header("x-payload") + "==")
    assert json.loads(payload)["sub"] == "ann"


@pytest.mark.parametrize(
    ("name", "headers", "method"),
    [
        pytest.param("output", {}, "GET", id="no-token"),
        pytest.param("output", bearer(A.token({"sub": None})), "GET", id="claims-not-there"),
        pytest.param("issuers", {}, "GET", id="no-token-of-several-issuers"),
        pytest.param("issuers", bearer(B.token()), "GET", id="token-of-another-issuer"),
        pytest.param(
            "output",
            {"origin": "http://a", "access-control-request-method": "GET"},
            "OPTIONS",
            id="preflight",
        ),
    ],
)  # fmt: skip
async def test_forged_claims_are_removed(
    site: Guarded, name: str, headers: dict[str, str], method: str
) -> None:
    forged = {"x-user": "admin", "X-Team": "red"}
    reply = await site.ask(name, headers={**headers, **forged}, method=method)
    assert reply.status == 200
    assert "admin" not in reply.echo.header("x-user")
    assert "x-team" not in reply.echo.headers


@pytest.mark.parametrize("name", ["plain", "issuers", "keyless"])
async def test_preflight_requests_pass(site: Guarded, name: str) -> None:
    """They cannot carry a token; with one that is bad they pass as well."""
    asked = {"origin": "http://a", "access-control-request-method": "GET", **bearer("bad")}
    assert (await site.ask(name, headers=asked, method="OPTIONS")).status == 200
    assert (await site.ask(name, headers=bearer("bad"), method="OPTIONS")).status == 401

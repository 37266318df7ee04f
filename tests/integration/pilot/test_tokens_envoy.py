"""Tokens of end users before a real Envoy (pilot.md J2, J3, F3; acceptance 26).

One Envoy has the listener of every workload; a workload is a set of policies.
"""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio

from tests.support.guarded_envoy import EDGE, Guarded, guarded_envoy
from tests.support.tokens import Issuer, base64url, encoded, key_set, public_pem

pytestmark = pytest.mark.asyncio(loop_scope="module")

A = Issuer("https://a.test")
A_LATER = Issuer("https://a.test", kid="k2", key=Issuer("https://later.test").private)
B = Issuer("https://b.test", "ES256")
C = Issuer("https://c.test", "EdDSA")
SHARED = Issuer("https://shared.test", "HS256")
STRANGER = Issuer("https://stranger.test")
FORGER = Issuer("https://a.test", key=STRANGER.private)
FAR = 9_999_999_999


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Guarded]:
    with TemporaryDirectory() as directory:
        async with guarded_envoy(
            Path(directory), WORKLOADS, *POLICIES, ROUTES, with_gateway=True
        ) as running:
            yield running


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


NO_TOKEN = b""
MALFORMED = b"Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
NO_KEY = b"Jwks doesn't have key to match kid or alg from Jwt"
BAD_SIGNATURE = b"Jwt verification fails"
EXPIRED, TOO_EARLY = b"Jwt is expired", b"Jwt not yet valid"
UNKNOWN_ISSUER, WRONG_AUDIENCE = (
    b"Jwt issuer is not configured",
    b"Audiences in Jwt are not allowed",
)


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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(bearer(A.token()), 200, id="a"),
        pytest.param(bearer(B.token()), 200, id="b"),
        pytest.param(bearer(SHARED.token()), 200, id="shared-secret"),
        pytest.param({"x-c": C.token()}, 200, id="c-at-its-place"),
        pytest.param(bearer(C.token()), 401, id="c-at-the-usual-place"),
        pytest.param({"x-c": A.token()}, 401, id="a-at-the-place-of-c"),
        pytest.param(bearer(STRANGER.token()), 401, id="stranger"),
        pytest.param(bearer(A.token({"iss": B.name})), 401, id="a-as-b"),
        pytest.param({**bearer(A.token()), "x-c": C.token()}, 200, id="two-good-ones"),
        pytest.param({**bearer(A.token()), "x-c": "bad"}, 200, id="one-good-one-is-enough"),
        pytest.param({"x-c": "bad"}, 401, id="bad"),
    ],
)
async def test_several_issuers(site: Guarded, headers: dict[str, str], status: int) -> None:
    assert (await site.ask("issuers", headers=headers)).status == status


async def test_policies_are_united(site: Guarded) -> None:
    for token, status in ((A.token(), 200), (B.token(), 200), (C.token(), 401)):
        assert (await site.ask("two-policies", headers=bearer(token))).status == status


async def test_policies_of_the_root_namespace_select_everywhere(site: Guarded) -> None:
    for token, status in ((A.token(), 200), (B.token(), 401)):
        assert (await site.ask("root", headers=bearer(token))).status == status


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("keyless", b"Jwks doesn't have any valid public key", id="not-fetched"),
        pytest.param("useless-keys", b"Jwks doesn't have any valid public key", id="useless"),
        pytest.param("odd-keys", b"", id="one-of-four-is-good"),
    ],
)
async def test_keys_that_cannot_be_used(site: Guarded, name: str, reason: bytes) -> None:
    """The listener is there; only tokens are refused (costly problem 15)."""
    reply = await site.ask(name, headers=bearer(A.token()))
    assert (reply.status, reply.body if reason else b"") == (401 if reason else 200, reason)


async def test_old_and_new_keys_count_while_issuers_rotate(site: Guarded) -> None:
    for issuer in (A, A_LATER):
        assert (await site.ask("rotating", headers=bearer(issuer.token()))).status == 200
    assert (await site.ask("plain", headers=bearer(A_LATER.token()))).status == 401


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        pytest.param("", "/any", 403, id="no-token"),
        pytest.param("bad", "/any", 401, id="bad-token"),
        pytest.param(A.token(), "/any", 200, id="anybody-a"),
        pytest.param(B.token(), "/any", 200, id="anybody-b"),
        pytest.param(A.token(), "/a", 200, id="of-an-issuer"),
        pytest.param(B.token(), "/a", 403, id="of-another-issuer"),
        pytest.param(A.token({"sub": None}), "/any", 403, id="nobody"),
        pytest.param(
            B.token({"aud": ["shop"], "org": {"team": ["red", "blue"]}}), "/admin", 200, id="claims"
        ),
        pytest.param(
            B.token({"aud": "shop", "org": {"team": "red"}}), "/admin", 403, id="other-claims"
        ),
        pytest.param(A.token(), "/admin", 403, id="no-claims"),
    ],
)
async def test_access_by_token(site: Guarded, token: str, path: str, status: int) -> None:
    """Rules of AuthorizationPolicy see what good tokens say (pilot.md J4)."""
    assert (await site.ask("members", path, bearer(token) if token else {})).status == status


@pytest.mark.parametrize(
    ("claims", "path", "expected"),
    [
        pytest.param({"group": "admin"}, "/", "group", id="text"),
        pytest.param({"group": ["user", "admin"]}, "/", "group", id="list"),
        pytest.param({"group": "administrator"}, "/", "rest", id="longer-text"),
        pytest.param({"org.name": {"unit": "engines"}}, "/", "nested", id="nested"),
        pytest.param({"org": {"name": {"unit": "engines"}}}, "/", "rest", id="nested-otherwise"),
        pytest.param({"scope": "read write"}, "/", "scope", id="words"),
        pytest.param({"roles": "clerk chief"}, "/", "roles", id="words-of-an-own-claim"),
        pytest.param({"group": 5}, "/nobody", "rest", id="somebody"),
        pytest.param(None, "/nobody", "nobody", id="nobody"),
        pytest.param(None, "/", "rest", id="no-token"),
    ],
)
async def test_routes_by_claims(
    site: Guarded, claims: dict[str, Any] | None, path: str, expected: str
) -> None:
    headers = {} if claims is None else bearer(A.token(claims))
    reply = await site.ask(EDGE, path, headers, host="claims.test")
    assert (reply.status, reply.echo.header("x-route")) == (200, expected)


async def test_gateways_refuse_bad_tokens(site: Guarded) -> None:
    reply = await site.ask(EDGE, headers=bearer("bad"), host="claims.test")
    assert (reply.status, reply.body) == (401, MALFORMED)

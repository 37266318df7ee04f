"""Policies about tokens before a real Envoy: several issuers, keys, access, routes (J2 to J4, F3).

Acceptance 26; costly problem 15.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.guarded_envoy import EDGE, Guarded
from tests.support.token_policies import A_LATER, SHARED, STRANGER, A, B, C, bearer, token_site

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Guarded]:
    async with token_site() as running:
        yield running


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
    assert (reply.status, reply.header("x-upstream")) == (401, "")

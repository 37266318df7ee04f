"""Demands for tokens: which claims meet them, what is left of them, why others do not."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from google.protobuf.json_format import ParseDict

from mast.cli.explain.tokens import Outcome, checked
from mast.cli.explain.traffic import Request

US = {"iss": "us", "sub": "eve", "scope": "read write"}
THEM = {"iss": "them", "aud": ["web", "api"]}
PROVIDERS = {
    "us": {
        "issuer": "us",
        "payloadInMetadata": "payload",
        "normalizePayloadInMetadata": {"spaceDelimitedClaims": ["scope"]},
    },
    "them": {"issuer": "them", "audiences": ["api"], "fromHeaders": [{"name": "x-token"}]},
}
EITHER = {"requiresAny": {"requirements": [{"providerName": "us"}, {"providerName": "them"}]}}
OPTIONAL = {"requiresAny": {"requirements": [{"providerName": "us"}, {"allowMissing": {}}]}}
BOTH_OPTIONAL = {
    "requiresAll": {
        "requirements": [
            OPTIONAL,
            {"requiresAny": {"requirements": [{"providerName": "them"}, {"allowMissing": {}}]}},
        ]
    }
}


def outcome(
    demand: dict[str, Any], claims: dict[str, Any] | None, path: str = "/"
) -> tuple[Outcome, str]:
    rules = [{"match": {"prefix": "/"}, "requires": demand}]
    found = checked(made(rules=rules), Request(authority="a", path=path, claims=claims))
    return found.outcome, found.reason


def made(**fields: Any) -> JwtAuthentication:
    return ParseDict({"providers": PROVIDERS, **fields}, JwtAuthentication())


@pytest.mark.parametrize(
    ("demand", "claims", "result", "reason"),
    [
        pytest.param(
            {"providerName": "us"}, US, Outcome.GOOD, "the token of us is good", id="good"
        ),
        pytest.param(
            {"providerName": "us"}, None, Outcome.MISSING, "there is no token of us", id="missing"
        ),
        pytest.param(
            {"providerName": "us"}, THEM, Outcome.BAD, "the issuer is them, not us", id="issuer"
        ),
        pytest.param(
            {"providerName": "them"},
            {"iss": "them", "aud": "web"},
            Outcome.BAD,
            "the audience is web, not api",
            id="audience",
        ),
        pytest.param(
            {"providerName": "them"},
            {"iss": "them"},
            Outcome.BAD,
            "the audience is nobody, not api",
            id="no-audience",
        ),
        pytest.param(
            {"providerName": "them"},
            US,
            Outcome.MISSING,
            "there is no token of them",
            id="looked-for-elsewhere",
        ),
        pytest.param(
            {"providerAndAudiences": {"providerName": "them", "audiences": ["web"]}},
            THEM,
            Outcome.GOOD,
            "the token of them is good",
            id="other-audiences",
        ),
        pytest.param(EITHER, THEM, Outcome.GOOD, "the token of them is good", id="one-of"),
        pytest.param(EITHER, {"iss": "x"}, Outcome.BAD, "the issuer is x, not us", id="none-of"),
        pytest.param(OPTIONAL, None, Outcome.GOOD, "there is no token", id="may-be-missing"),
        pytest.param(OPTIONAL, US, Outcome.GOOD, "the token of us is good", id="there-anyway"),
        pytest.param(
            OPTIONAL, {"iss": "x"}, Outcome.BAD, "the issuer is x, not us", id="bad-is-not-missing"
        ),
        pytest.param(BOTH_OPTIONAL, None, Outcome.GOOD, "there is no token", id="all"),
        pytest.param(
            BOTH_OPTIONAL, {"iss": "x"}, Outcome.BAD, "the issuer is x, not us", id="not-all"
        ),
        pytest.param({"allowMissing": {}}, None, Outcome.GOOD, "there is no token", id="alone"),
        pytest.param(
            {"allowMissingOrFailed": {}},
            {"iss": "x"},
            Outcome.GOOD,
            "any request may pass",
            id="may-fail",
        ),
        pytest.param(
            {"allowMissingOrFailed": {}}, US, Outcome.GOOD, "the token of us is good", id="need-not"
        ),
        pytest.param({}, None, Outcome.GOOD, "any request may pass", id="no-demand"),
    ],
)
def test_demands(
    demand: dict[str, Any], claims: dict[str, Any] | None, result: Outcome, reason: str
) -> None:
    assert outcome(demand, claims) == (result, reason)


def test_a_token_for_somebody_else_is_forbidden_not_unknown() -> None:
    """Envoy tells them apart (pilot.md J2): 401 for bad tokens, 403 for other audiences."""
    config = made(rules=[{"match": {"prefix": "/"}, "requires": {"providerName": "them"}}])
    other = checked(config, Request(authority="a", claims={"iss": "them", "aud": "web"}))
    assert (other.passes, other.status) == (False, 403)
    assert checked(config, Request(authority="a")).status == 401


def test_claims_are_left_for_rules() -> None:
    rules = [{"match": {"prefix": "/"}, "requires": {"providerName": "us"}}]
    found = checked(made(rules=rules), Request(authority="a", claims=US))
    assert found.left == {"payload": {**US, "scope": ["read", "write"]}}


def test_the_first_rule_that_fits_counts() -> None:
    rules = [
        {"match": {"path": "/open"}},
        {"match": {"prefix": "/"}, "requirementName": "strict"},
    ]
    config = made(rules=rules, requirementMap={"strict": {"providerName": "us"}})
    assert checked(config, Request(authority="a", path="/open")).passes
    assert not checked(config, Request(authority="a", path="/")).passes
    nowhere = made(rules=[{"match": {"path": "/x"}, "requires": {"providerName": "us"}}])
    assert checked(nowhere, Request(authority="a")).reason == "no token is asked for here"


def test_what_filters_before_found_out_may_count() -> None:
    demands = {"1": {"providerName": "us"}, "-": {"providerName": "them"}}
    config = made(filterStateRules={"name": "state", "requires": demands})
    asked = Request(authority="a", claims=US)
    assert checked(config, asked, {"state": "1"}).passes
    assert not checked(config, asked, {"state": "-"}).passes
    assert checked(config, asked, {"state": "0"}).reason == "no token is asked for here"


def test_preflight_requests_need_none() -> None:
    rules = [{"match": {"prefix": "/"}, "requires": {"providerName": "us"}}]
    config = made(rules=rules, bypassCorsPreflight=True)
    headers = [("origin", "https://a"), ("access-control-request-method", "GET")]
    assert checked(config, Request(authority="a", method="OPTIONS", headers=headers)).passes
    assert not checked(config, Request(authority="a", method="OPTIONS")).passes

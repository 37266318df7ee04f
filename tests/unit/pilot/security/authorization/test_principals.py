"""Principals of RBAC (pilot.md J4)."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.rbac.v3.rbac_pb2 import Principal
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.security.authorization import principals

ANY = {"any": True}


def named(**matcher: Any) -> Mapping[str, Any]:
    return {"authenticated": {"principalName": matcher}}


def regex(text: str) -> Mapping[str, Any]:
    return named(safeRegex={"regex": text})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(principals.anything(), ANY, id="anybody"),
        pytest.param(principals.nobody(), {"notId": ANY}, id="nobody"),
        pytest.param(principals.all_of([]), ANY, id="all-of-none"),
        pytest.param(principals.any_of([]), {"notId": ANY}, id="any-of-none"),
        pytest.param(principals.any_of([principals.anything()]), ANY, id="any-of-one"),
        pytest.param(
            principals.all_of([principals.anything()] * 2), {"andIds": {"ids": [ANY, ANY]}},
            id="all-of",
        ),
        pytest.param(
            principals.any_of([principals.anything()] * 2), {"orIds": {"ids": [ANY, ANY]}},
            id="any-of",
        ),
        pytest.param(
            principals.identity("td/ns/a/sa/b"), named(exact="spiffe://td/ns/a/sa/b"), id="identity"
        ),
        pytest.param(principals.identity("*"), regex("spiffe://.+"), id="any-identity"),
        pytest.param(principals.identity("*/b"), regex("spiffe://.*/b"), id="identity-suffix"),
        pytest.param(principals.namespace("a"), regex(".*/ns/a/.*"), id="namespace"),
        pytest.param(principals.namespace("a*b.c"), regex(r".*/ns/a.*b\.c/.*"), id="namespaces"),
        pytest.param(
            principals.service_account("a", "b.c"),
            regex(r"spiffe://.+/ns/a/(.+/|)sa/b\.c(/.+)?"),
            id="service-account",
        ),
        pytest.param(principals.trust_domain("td"), named(prefix="spiffe://td/"), id="domain"),
        pytest.param(principals.trust_domain("t*"), named(prefix="spiffe://t"), id="domain-prefix"),
        pytest.param(
            principals.trust_domain("*.td"), regex(r"spiffe://[^/]*\.td/.*"), id="domain-suffix"
        ),
        pytest.param(principals.trust_domain("*"), regex("spiffe://[^/]*/.*"), id="any-domain"),
        pytest.param(
            principals.source_ip("10.0.0.1"),
            {"directRemoteIp": {"addressPrefix": "10.0.0.1", "prefixLen": 32}},
            id="source-ip",
        ),
        pytest.param(
            principals.remote_ip("10.0.0.1"),
            {"remoteIp": {"addressPrefix": "10.0.0.1", "prefixLen": 32}},
            id="remote-ip",
        ),
        pytest.param(
            principals.header("x", "a*"),
            {"header": {"name": "x", "stringMatch": {"prefix": "a"}}},
            id="header",
        ),
    ],
)  # fmt: skip
def test_principal(made: Principal, expected: Mapping[str, Any]) -> None:
    assert MessageToDict(made) == expected


def claimed(path: list[str], value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "sourcedMetadata": {
            "metadataMatcher": {
                "filter": "envoy.filters.http.jwt_authn",
                "path": [{"key": each} for each in ("payload", *path)],
                "value": value,
            }
        }
    }


@pytest.mark.parametrize(
    ("made", "path"),
    [
        pytest.param(principals.audience("a"), ["aud"], id="audience"),
        pytest.param(principals.presenter("a"), ["azp"], id="presenter"),
        pytest.param(principals.claim(["x", "y"], "a"), ["x", "y"], id="claim"),
    ],
)
def test_claims_are_texts_or_lists(made: Principal, path: list[str]) -> None:
    text = {"stringMatch": {"exact": "a"}}
    either = {"orMatch": {"valueMatchers": [text, {"listMatch": {"oneOf": text}}]}}
    assert MessageToDict(made) == claimed(path, either)


ISSUERS = ["a", "a/b", "https://a", "", "x/a"]
SUBJECTS = ["b", "b/c", "a", "c/b", ""]


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "a/b", "a/b/c", "https://a/b", "a/*", "https://*", "*/b", "*b/c", "*c", "a*", "b"),
        *("/b", "a/", "x/a/*", "*/a/b"),
    ],
)
def test_a_request_principal_is_issuer_and_subject(pattern: str) -> None:
    """As if the pattern were held against both, with a slash between them."""
    made = principals.request_principal(pattern)
    for issuer in ISSUERS:
        for subject in SUBJECTS:
            told = {"iss": issuer, "sub": subject}
            whole = f"{issuer}/{subject}"
            if pattern == "*":
                expected = bool(issuer and subject)
            elif "*" in pattern and not (issuer and subject):
                continue  # no issuer signs such tokens
            elif pattern.startswith("*"):
                expected = whole.endswith(pattern[1:])
            elif pattern.endswith("*"):
                expected = whole.startswith(pattern[:-1])
            else:
                expected = whole == pattern
            assert holds(made, told) is expected, told


def holds(principal: Principal, claims: Mapping[str, str]) -> bool:
    """Whether claims meet a principal that looks at nothing else."""
    match principal.WhichOneof("identifier"):
        case "and_ids":
            return all(holds(each, claims) for each in principal.and_ids.ids)
        case "or_ids":
            return any(holds(each, claims) for each in principal.or_ids.ids)
        case "not_id":
            return not holds(principal.not_id, claims)
        case "any":
            return True
    matcher = principal.sourced_metadata.metadata_matcher
    text = matcher.value.string_match
    value = claims[matcher.path[1].key]
    match text.WhichOneof("match_pattern"):
        case "exact":
            return value == text.exact
        case "prefix":
            return value.startswith(text.prefix)
        case "suffix":
            return value.endswith(text.suffix)
    return re.fullmatch(text.safe_regex.regex, value) is not None

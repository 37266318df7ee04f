"""Cross-origin policies (pilot.md F, corsPolicy)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import CorsPolicy
from mast.pilot.core.filters.cors import cors_policy
from tests.support.messages import made, plain, read

COMMON = """
filter_enabled: {default_value: {numerator: 1000000, denominator: MILLION}}
forward_not_matching_preflights: true
"""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param("{}", "{}", id="nothing"),
        pytest.param(
            """
            allowOrigins: [{exact: 'https://a'}, {prefix: 'https://b'}, {regex: '.*c'}]
            allowMethods: [GET, PUT]
            allowHeaders: [a, b]
            exposeHeaders: [c]
            maxAge: 86400s
            allowCredentials: true
            """,
            """
            allow_origin_string_match:
            - {exact: 'https://a'}
            - {prefix: 'https://b'}
            - {safe_regex: {regex: '.*c'}}
            allow_methods: GET,PUT
            allow_headers: a,b
            expose_headers: c
            max_age: '86400'
            allow_credentials: true
            """,
            id="everything",
        ),
        pytest.param(
            "allowOrigin: [a, '*']",
            "allow_origin_string_match: [{exact: a}, {exact: '*'}]",
            id="old-origins",
        ),
        pytest.param(
            "{allowOrigin: [a], allowOrigins: [{exact: b}]}",
            "allow_origin_string_match: [{exact: b}]",
            id="new-origins-win",
        ),
        pytest.param(
            "allowOrigins: [{regex: '*'}, {prefix: ''}]",
            "allow_origin_string_match: [{exact: '*'}, {exact: '*'}]",
            id="any-origin",
        ),
        pytest.param(
            "unmatchedPreflights: IGNORE", "forward_not_matching_preflights: false", id="ignore"
        ),
        pytest.param("unmatchedPreflights: FORWARD", "{}", id="forward"),
    ],
)
def test_cors_policy(policy: str, expected: str) -> None:
    assert plain(cors_policy(made(CorsPolicy, policy))) == {**read(COMMON), **read(expected)}

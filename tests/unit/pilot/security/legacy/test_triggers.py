"""On which paths tokens are looked at (pilot.md J8)."""

import pytest
import yaml
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtRequirement
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from google.protobuf.json_format import ParseDict

from istio.authentication.v1alpha1.policy_pb2 import Jwt
from mast.pilot.core.security.legacy.triggers import (
    STATE,
    TRIGGERS_FILTER,
    demands_by_path,
    differ,
    triggers_filter,
)


def origin(rules: str) -> Jwt:
    return ParseDict({"triggerRules": yaml.safe_load(rules)}, Jwt())


def expression(*origins: Jwt) -> str:
    made = triggers_filter(origins)
    config = Config()
    assert made.name == TRIGGERS_FILTER
    assert made.typed_config.Unpack(config)
    (value,) = config.on_request_headers
    assert (value.object_key, value.factory_key) == (STATE, "envoy.string")
    return value.format_string.text_format_source.inline_string


PATH = "request.url_path"


@pytest.mark.parametrize(
    ("rules", "condition"),
    [
        pytest.param("[{includedPaths: [{exact: /a}]}]", f"(({PATH} == '/a'))", id="exact"),
        pytest.param(
            "[{includedPaths: [{prefix: /a}]}]", f"(({PATH}.startsWith('/a')))", id="prefix"
        ),
        pytest.param(
            "[{includedPaths: [{suffix: .c}]}]", f"(({PATH}.endsWith('.c')))", id="suffix"
        ),
        pytest.param(
            "[{includedPaths: [{regex: /a.}]}]",
            f"(({PATH}.matches('\\u005e\\u0028\\u003f\\u003a/a.\\u0029\\u0024')))",
            id="regex",
        ),
        pytest.param("[{excludedPaths: [{exact: /a}]}]", f"(!({PATH} == '/a'))", id="excluded"),
        pytest.param(
            "[{excludedPaths: [{exact: /a}, {exact: /b}],"
            " includedPaths: [{exact: /c}, {exact: /d}]}]",
            f"(!({PATH} == '/a') && !({PATH} == '/b') && ({PATH} == '/c' || {PATH} == '/d'))",
            id="none-of-these-and-one-of-those",
        ),
        pytest.param(
            "[{includedPaths: [{exact: /a}]}, {excludedPaths: [{exact: /b}]}]",
            f"(({PATH} == '/a')) || (!({PATH} == '/b'))",
            id="one-of-the-rules",
        ),
        pytest.param("[{}]", "(true)", id="every-path"),
        pytest.param(
            '[{includedPaths: [{exact: "/\'%)é\U0001f600"}]}]',
            f"(({PATH} == '/\\u0027\\u0025\\u0029\\u00e9\\U0001f600'))",
            id="signs-that-mean-something",
        ),
    ],
)
def test_conditions(rules: str, condition: str) -> None:
    assert expression(origin(rules)) == f"%CEL(({condition}) ? ('1') : ('0'))%"


ONE, TWO = origin("[{includedPaths: [{exact: /1}]}]"), origin("[{includedPaths: [{exact: /2}]}]")
ALWAYS = Jwt()


def test_every_list_of_rules_is_looked_at_once() -> None:
    first, second = f"(({PATH} == '/1'))", f"(({PATH} == '/2'))"
    assert expression(ONE, TWO, ONE, ALWAYS) == (
        f"%CEL(({first}) ? (({second}) ? ('11') : ('10')) : (({second}) ? ('01') : ('00')))%"
    )


def demand(places: object) -> JwtRequirement:
    return JwtRequirement(provider_name=str(places))


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        pytest.param([ONE], {"1": [0], "": [0], "-": [0]}, id="one"),
        pytest.param(
            [ONE, TWO],
            {"11": [0, 1], "10": [0], "01": [1], "": [0, 1], "-": [0, 1]},
            id="two",
        ),
        pytest.param(
            [ONE, ALWAYS],
            {"1": [0, 1], "0": [1], "": [0, 1], "-": [0, 1]},
            id="one-of-them-always",
        ),
        pytest.param([ONE, ONE], {"1": [0, 1], "": [0, 1], "-": [0, 1]}, id="the-same"),
    ],
)
def test_demands(origins: list[Jwt], expected: dict[str, list[int]]) -> None:
    found = demands_by_path(origins, demand)
    assert found.name == STATE
    assert {key: each.provider_name for key, each in found.requires.items()} == {
        key: str(places) for key, places in expected.items()
    }


def test_origins_differ_if_one_has_rules() -> None:
    assert differ([ALWAYS, ONE])
    assert not differ([ALWAYS])

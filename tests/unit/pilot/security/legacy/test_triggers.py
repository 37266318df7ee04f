"""On which paths tokens are looked at (pilot.md J8)."""

from typing import Any

import pytest
import yaml
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtRequirement
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.authentication.v1alpha1.policy_pb2 import Jwt
from mast.pilot.core.security.legacy.triggers import (
    STATE,
    TRIGGERS_FILTER,
    demands_by_path,
    differ,
    triggers_filters,
)


def origin(rules: str) -> Jwt:
    return ParseDict({"triggerRules": yaml.safe_load(rules)}, Jwt())


def policies(*origins: Jwt) -> dict[str, Any]:
    """What of a request each word stands for."""
    made = RBAC()
    assert triggers_filters(origins)[0].typed_config.Unpack(made)
    assert not made.HasField("rules")
    assert made.shadow_rules_stat_prefix == "mast_triggers_"
    found = MessageToDict(made.shadow_rules)["policies"]
    assert all(each["principals"] == [{"any": True}] for each in found.values())
    return {word: each["permissions"] for word, each in found.items()}


def path(**matcher: Any) -> dict[str, Any]:
    return {"urlPath": {"path": matcher}}


def negated(condition: dict[str, Any]) -> dict[str, Any]:
    return {"notRule": condition}


def all_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"andRules": {"rules": [*conditions]}}


def any_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"orRules": {"rules": [*conditions]}}


@pytest.mark.parametrize(
    ("rules", "condition"),
    [
        pytest.param("[{includedPaths: [{exact: /a}]}]", path(exact="/a"), id="exact"),
        pytest.param("[{includedPaths: [{prefix: /a}]}]", path(prefix="/a"), id="prefix"),
        pytest.param("[{includedPaths: [{suffix: .c}]}]", path(suffix=".c"), id="suffix"),
        pytest.param(
            "[{includedPaths: [{regex: /a.}]}]", path(safeRegex={"regex": "/a."}), id="regex"
        ),
        pytest.param("[{excludedPaths: [{exact: /a}]}]", negated(path(exact="/a")), id="excluded"),
        pytest.param(
            "[{excludedPaths: [{exact: /a}, {exact: /b}],"
            " includedPaths: [{exact: /c}, {exact: /d}]}]",
            all_of(
                negated(path(exact="/a")),
                negated(path(exact="/b")),
                any_of(path(exact="/c"), path(exact="/d")),
            ),
            id="none-of-these-and-one-of-those",
        ),
        pytest.param(
            "[{includedPaths: [{exact: /a}]}, {excludedPaths: [{exact: /b}]}]",
            any_of(path(exact="/a"), negated(path(exact="/b"))),
            id="one-of-the-rules",
        ),
        pytest.param("[{}]", {"any": True}, id="every-path"),
    ],
)
def test_conditions(rules: str, condition: dict[str, Any]) -> None:
    assert policies(origin(rules)) == {"1": [condition], "0": [negated(condition)]}


ONE, TWO = origin("[{includedPaths: [{exact: /1}]}]"), origin("[{includedPaths: [{exact: /2}]}]")
ALWAYS = Jwt()


def test_every_request_has_a_word_with_a_sign_for_each_list_of_rules() -> None:
    first, second = path(exact="/1"), path(exact="/2")
    assert policies(ONE, TWO, ONE, ALWAYS) == {
        "11": [all_of(first, second)],
        "10": [all_of(first, negated(second))],
        "01": [all_of(negated(first), second)],
        "00": [all_of(negated(first), negated(second))],
    }


def test_the_word_is_handed_on() -> None:
    found, config = triggers_filters([ONE])[1], Config()
    assert found.name == TRIGGERS_FILTER
    assert found.typed_config.Unpack(config)
    (value,) = config.on_request_headers
    assert (value.object_key, value.factory_key) == (STATE, "envoy.string")
    assert value.format_string.text_format_source.inline_string == (
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:mast_triggers_shadow_effective_policy_id)%"
    )


def demand(places: object) -> JwtRequirement:
    return JwtRequirement(provider_name=str([*places]))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        pytest.param([ONE], {"1": [0], "-": [0]}, id="one"),
        pytest.param([ONE, TWO], {"11": [0, 1], "10": [0], "01": [1], "-": [0, 1]}, id="two"),
        pytest.param([ONE, ALWAYS], {"1": [0, 1], "0": [1], "-": [0, 1]}, id="one-always"),
        pytest.param([ONE, ONE], {"1": [0, 1], "-": [0, 1]}, id="the-same"),
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

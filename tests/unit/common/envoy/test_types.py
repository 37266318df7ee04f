"""Messages of Envoy's configuration by name, and structures read as such messages."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from mast.common.envoy.types import (
    UnknownType,
    Unreadable,
    message_class,
    packed,
    parsed,
    type_name,
    unpacked,
)

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("envoy.extensions.filters.http.lua.v3.Lua", id="extension"),
        pytest.param("envoy.config.core.v3.HealthCheck.GrpcHealthCheck", id="nested"),
        pytest.param("google.protobuf.StringValue", id="well-known"),
        pytest.param("xds.type.v3.TypedStruct", id="xds"),
    ],
)
def test_classes_are_found_by_name(name: str) -> None:
    assert message_class(name).DESCRIPTOR.full_name == name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("envoy.extensions.filters.http.lua.v3.Python", id="no-such-message"),
        pytest.param("envoy.extensions.nothing.v3.X", id="no-such-package"),
        pytest.param("istio.mesh.v1alpha1.MeshConfig", id="not-envoy"),
        pytest.param("os.path", id="a-module"),
        pytest.param("", id="empty"),
    ],
)
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownType, match="no message"):
        message_class(name)


def test_what_is_packed_can_be_unpacked() -> None:
    typed = packed(Duration(seconds=3))
    assert type_name(typed.type_url) == "google.protobuf.Duration"
    assert unpacked(typed) == Duration(seconds=3)


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param(AnyMessage(type_url="type.googleapis.com/x.Y"), id="unknown-type"),
        pytest.param(
            AnyMessage(type_url="type.googleapis.com/google.protobuf.Duration", value=b"\xff"),
            id="not-its-bytes",
        ),
    ],
)
def test_what_is_not_understood_is_none(typed: AnyMessage) -> None:
    assert unpacked(typed) is None


def structure(content: dict[str, Any]) -> Struct:
    return ParseDict(content, Struct())


def test_a_structure_becomes_the_message_with_its_typed_configuration() -> None:
    found = parsed(
        structure({"name": "lua", "typed_config": {"@type": LUA, "statPrefix": "x"}}), HttpFilter
    )
    inner = unpacked(found.typed_config)
    assert found.name == "lua"
    assert inner is not None
    assert inner.stat_prefix == "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param({"nam": "x"}, "nam", id="unknown-field"),
        pytest.param({"name": 3}, "name", id="wrong-type"),
        pytest.param({"typed_config": {"@type": "a.b/x.Y"}}, "x.Y", id="unknown-type"),
        pytest.param({"typed_config": {"@type": LUA, "x": 1}}, "'?x'?", id="field-inside"),
        pytest.param({"typed_config": {"stat_prefix": "x"}}, "@type", id="no-type"),
    ],
)
def test_what_does_not_fit_is_told(content: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parsed(structure(content), HttpFilter)

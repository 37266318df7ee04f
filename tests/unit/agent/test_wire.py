"""Peeking at single fields of serialised messages."""

from __future__ import annotations

from contextlib import suppress

import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.wrappers_pb2 import DoubleValue, FloatValue
from hypothesis import given
from hypothesis import strategies as st

from mast.agent.core.wire import peek


@given(st.text(), st.text(), st.lists(st.text()), st.booleans())
def test_finds_what_protobuf_wrote(
    type_url: str, nonce: str, names: list[str], canary: bool
) -> None:
    request = DiscoveryRequest(type_url=type_url, response_nonce=nonce, resource_names=names)
    found = peek(request.SerializeToString(), 4, 5)
    assert found == {number: text.encode() for number, text in ((4, type_url), (5, nonce)) if text}
    delta = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
    assert peek(delta.SerializeToString(), 2).get(2, b"") == type_url.encode()
    response = DiscoveryResponse(type_url=type_url, canary=canary, nonce=nonce)
    assert peek(response.SerializeToString(), 4).get(4, b"") == type_url.encode()


def test_skips_large_and_fixed_width_fields() -> None:
    response = DeltaDiscoveryResponse(type_url="t", nonce="n")
    response.resources.add().resource.value = b"\x22\x01x" * 100_000
    assert peek(response.SerializeToString(), 4) == {4: b"t"}
    numbers = DoubleValue(value=1.5).SerializeToString() + FloatValue(value=1.5).SerializeToString()
    assert peek(numbers + b"\x12\x01a", 2) == {2: b"a"}


def test_the_last_value_counts() -> None:
    assert peek(b"\x0a\x01a\x0a\x01b", 1) == {1: b"b"}
    assert peek(b"", 1) == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a", id="no-length"),
        pytest.param(b"\x0a\x05ab", id="too-short"),
        pytest.param(b"\x0b", id="group"),
        pytest.param(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="endless-number"),
        pytest.param(b"\x09\x01", id="short-fixed64"),
        pytest.param(b"\x0d\x01", id="short-fixed32"),
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"byte \d+"):
        peek(data, 1)


@given(st.binary())
def test_never_raises_anything_else(data: bytes) -> None:
    with suppress(ValueError):
        peek(data, 1, 2)

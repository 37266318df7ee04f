"""Patterns, networks and ports as matchers (pilot.md J4)."""

import pytest
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.security.authorization.values import (
    Unusable,
    cidr_range,
    port_number,
    string_matcher,
)


def regex(text: str) -> dict[str, object]:
    return {"safeRegex": {"regex": text}}


@pytest.mark.parametrize(
    ("pattern", "before", "expected"),
    [
        pytest.param("a", "", {"exact": "a"}, id="exact"),
        pytest.param("a*", "", {"prefix": "a"}, id="prefix"),
        pytest.param("*a", "", {"suffix": "a"}, id="suffix"),
        pytest.param("*", "", regex(".+"), id="present"),
        pytest.param("a*b", "", {"exact": "a*b"}, id="asterisk-inside"),
        pytest.param("**", "", {"suffix": "*"}, id="two-asterisks"),
        pytest.param("a", "x.", {"exact": "x.a"}, id="exact-after-a-text"),
        pytest.param("a*", "x.", {"prefix": "x.a"}, id="prefix-after-a-text"),
        pytest.param("*a.b", "x.", regex(r"x\..*a\.b"), id="suffix-after-a-text"),
        pytest.param("*", "x.", regex(r"x\..+"), id="present-after-a-text"),
    ],
)
def test_string_matcher(pattern: str, before: str, expected: dict[str, object]) -> None:
    assert MessageToDict(string_matcher(pattern, before=before)) == expected


@pytest.mark.parametrize("pattern", ["a", "a*", "*a"])
def test_case_may_mean_nothing(pattern: str) -> None:
    assert string_matcher(pattern, ignore_case=True).ignore_case
    assert not string_matcher(pattern).ignore_case
    assert string_matcher("*", ignore_case=True) == StringMatcher(
        safe_regex=string_matcher("*").safe_regex
    )


@pytest.mark.parametrize(
    ("text", "address", "length"),
    [
        pytest.param("10.0.0.1", "10.0.0.1", 32, id="address"),
        pytest.param("10.1.2.3/8", "10.0.0.0", 8, id="network"),
        pytest.param("2001:DB8::1/32", "2001:db8::", 32, id="ipv6"),
    ],
)
def test_cidr_range(text: str, address: str, length: int) -> None:
    expected = CidrRange(address_prefix=address)
    expected.prefix_len.value = length
    assert cidr_range(text) == expected


@pytest.mark.parametrize("text", ["", "a", "10.0.0.0/33", "fe80::1%eth0", "fe80::1%eth0/64"])
def test_no_network(text: str) -> None:
    with pytest.raises(Unusable, match=r"is not an IP address|has a zone"):
        cidr_range(text)


def test_port_number() -> None:
    assert [port_number(each) for each in ("0", "80", "65535")] == [0, 80, 65535]


@pytest.mark.parametrize("text", ["", "x", "-1", "65536", "٣", " 80"])
def test_no_port(text: str) -> None:
    with pytest.raises(Unusable, match="is not a port"):
        port_number(text)

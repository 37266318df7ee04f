"""SPIFFE IDs (citadel-and-agent.md A3)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.common.identity.spiffe import SpiffeId, trust_domain, trust_domain_of

SEGMENT = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,30}", fullmatch=True)


def test_spelling() -> None:
    identity = SpiffeId("cluster.local", "shop", "reviews")
    assert str(identity) == "spiffe://cluster.local/ns/shop/sa/reviews"


def test_at_in_trust_domain_becomes_dot() -> None:
    identity = SpiffeId("me@corp.example", "ns", "sa")
    assert str(identity) == "spiffe://me.corp.example/ns/ns/sa/sa"
    assert SpiffeId.parse(str(identity)) == identity


@given(SEGMENT, SEGMENT, SEGMENT)
def test_parse_is_the_inverse_of_str(domain: str, namespace: str, account: str) -> None:
    identity = SpiffeId(domain, namespace, account)
    assert SpiffeId.parse(str(identity)) == identity


@given(st.text())
def test_parse_gives_the_same_text_or_refuses(text: str) -> None:
    with suppress(ValueError):
        assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("", "want spiffe://", id="empty"),
        pytest.param("cluster.local/ns/a/sa/b", "want spiffe://", id="no-scheme"),
        pytest.param("http://td/ns/a/sa/b", "want spiffe://", id="other-scheme"),
        pytest.param("SPIFFE://td/ns/a/sa/b", "want spiffe://", id="scheme-in-capitals"),
        pytest.param("spiffe://td/ns/a/sa", "want spiffe://", id="too-few-parts"),
        pytest.param("spiffe://td/ns/a/sa/b/c", "want spiffe://", id="too-many-parts"),
        pytest.param("spiffe://td/sa/a/ns/b", "want spiffe://", id="parts-swapped"),
        pytest.param("spiffe:///ns/a/sa/b", "trust domain ''", id="no-trust-domain"),
        pytest.param("spiffe://td/ns//sa/b", "namespace ''", id="no-namespace"),
        pytest.param("spiffe://td/ns/a/sa/", "service account ''", id="no-service-account"),
        pytest.param("spiffe://a@b/ns/a/sa/b", "'@'", id="at-is-written-as-dot"),
        pytest.param("spiffe://td/ns/../sa/b", "namespace '..'", id="dots-only"),
        pytest.param("spiffe://td/ns/a/sa/b\n", "service account", id="newline"),
        pytest.param("spiffe://td:80/ns/a/sa/b", "trust domain", id="port"),
        pytest.param("spiffe://td/ns/a%2Fb/sa/b", "namespace", id="escape"),
    ],
)
def test_parse_names_what_is_wrong(text: str, named: str) -> None:
    with pytest.raises(ValueError, match="identity") as caught:
        SpiffeId.parse(text)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "domain"),
    [
        pytest.param("spiffe://cluster.local/ns/a/sa/b", "cluster.local", id="istio-form"),
        pytest.param("spiffe://other.example/any/path", "other.example", id="other-path"),
        pytest.param("spiffe://bare.example", "bare.example", id="no-path"),
    ],
)
def test_trust_domain_of(uri: str, domain: str) -> None:
    assert trust_domain_of(uri) == domain


@pytest.mark.parametrize("uri", ["", "https://cluster.local/a", "spiffe://", "spiffe://a b/c"])
def test_trust_domain_of_refuses_other_uris(uri: str) -> None:
    with pytest.raises(ValueError, match="want"):
        trust_domain_of(uri)


def test_trust_domain_is_bounded() -> None:
    assert trust_domain("a" * 255) == "a" * 255
    with pytest.raises(ValueError, match="1 to 255"):
        trust_domain("a" * 256)

"""The header XFCC, as Envoy writes it (citadel-and-agent.md A5)."""

from __future__ import annotations

import pytest

from mast.citadel.core.forwarded import MAX_BYTES, Element, elements, names

ME = "spiffe://cluster.local/ns/shop/sa/reviews"


def all_names(header: str) -> list[tuple[str, ...]]:
    return [names(each) for each in elements(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(f"URI={ME}", [(ME,)], id="uri"),
        pytest.param(
            f'By=spiffe://x/y;Hash=ab12;Subject="CN=web,O=Shop";URI={ME};DNS=a.example;DNS=b.example',
            [(ME, "a.example", "b.example", "web")],
            id="everything",
        ),
        pytest.param('Hash=1;Subject=""', [()], id="empty-subject"),
        pytest.param('Subject="O=Shop,CN=Smith\\\\, John"', [("Smith, John",)], id="escaped-comma"),
        pytest.param('Subject="CN=say \\"hi\\",O=x"', [('say "hi"',)], id="escaped-quotes"),
        pytest.param('Subject="/C=US/O=Shop/CN=web"', [("web",)], id="openssl"),
        pytest.param('Subject="O=a+CN=web"', [("web",)], id="several-in-one-rdn"),
        pytest.param(f'URI="{ME}"', [(ME,)], id="quoted"),
        pytest.param(f"uri={ME};URI=spiffe://b", [(ME, "spiffe://b")], id="case-and-several"),
        pytest.param(f"URI={ME},URI=spiffe://b", [(ME,), ("spiffe://b",)], id="elements"),
        pytest.param('Subject="CN=a,O=b",DNS=c', [("a",), ("c",)], id="comma-in-quotes"),
        pytest.param('Cert="-----BEGIN%20CERTIFICATE";URI=x', [("x",)], id="certificate"),
        pytest.param("URI=a;URI=a;DNS=a", [("a",)], id="repeats"),
        pytest.param("Issuer=b;URI=a", [("a",)], id="key-of-the-future"),
        pytest.param("URI=;DNS=", [()], id="empty-values"),
    ],
)
def test_names_of_every_element(header: str, expected: list[tuple[str, ...]]) -> None:
    assert all_names(header) == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param("", "without '='", id="empty"),
        pytest.param("URI", "without '='", id="no-value"),
        pytest.param("URI=a;", "without '='", id="trailing-semicolon"),
        pytest.param("URI=a,", "without '='", id="trailing-comma"),
        pytest.param('URI="a', "does not end", id="open-quote"),
        pytest.param('URI="a\\', "does not end", id="open-escape"),
        pytest.param('URI="a"b', "behind a quoted value", id="text-behind-quotes"),
        pytest.param('URI=a"b"', "quote within a value", id="quote-within"),
        pytest.param("a b=c", "the key 'a b'", id="no-key"),
        pytest.param("=c", "the key ''", id="empty-key"),
        pytest.param("URI=" + "a" * MAX_BYTES, "want at most", id="long"),
        pytest.param(",".join(["URI=a"] * 65), "65 elements", id="many"),
    ],
)
def test_what_is_no_such_header(header: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        elements(header)


def test_an_element_without_subject_has_no_common_name() -> None:
    assert Element((("uri", ME),)).common_name == ""

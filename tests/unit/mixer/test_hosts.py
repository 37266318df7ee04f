"""DNS names and e-mail addresses (mixer.md E22, E23; checklist 34)."""

from __future__ import annotations

import pytest

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.hosts import dns_name, email, same_dns_name, same_email


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("example.com", "example.com"),
        ("Example.COM", "Example.COM"),
        ("example.com.", "example.com."),
        ("xn--bcher-kva.example", "bücher.example"),
        ("a_b.c d", "a_b.c d"),
        ("a" * 300, "a" * 300),
        ("u\N{COMBINING DIAERESIS}.x", "ü.x"),
        ("a-b.c", "a-b.c"),
    ],
)
def test_dns_names(name: str, shown: str) -> None:
    assert dns_name(name) == shown


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("", ""),
        (".", ""),
        ("a..b", ""),
        (".a", ""),
        ("a..", ""),
        ("-a.b", "-a"),
        ("a-.b", "a-"),
        ("ab--c.d", "ab--c"),
        ("xn--a-.b", "xn--a-"),
        ("xn--99999999.b", "xn--99999999"),
        ("xn--.b", "xn--"),
        ("xn--\xe9.b", "xn--é"),
        pytest.param("é" * 1001, "é" * 1001, id="unicode-of-any-length-takes-too-long"),
        pytest.param("xn--" + "a" * 1001, "xn--" + "a" * 1001, id="so-does-punycode"),
    ],
)
def test_no_dns_names(name: str, label: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        dns_name(name)
    assert str(failed.value) == (
        f"error converting '{name}' to dns name: 'idna: invalid label \"{label}\"'"
    )


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("example.com", "EXAMPLE.com", True),
        ("example.com", "example.com.", True),
        ("bücher.de", "xn--bcher-kva.DE", True),
        ("BÜCHER.de", "bücher.de", True),
        ("a.b", "a.c", False),
    ],
)
def test_same_dns_name(left: str, right: str, same: bool) -> None:
    assert same_dns_name(left, right) is same


def test_names_that_take_too_long_to_compare_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="to dns name"):
        same_dns_name("a" + "\u0301\u0316" * 500, "b")
    assert same_dns_name("a" + "\u0301\u0316" * 400, "a" + "\u0301\u0316" * 400)


def test_comparing_a_name_with_an_underscore_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="error converting 'a_b' to dns name"):
        same_dns_name("a_b", "a.b")


@pytest.mark.parametrize(
    "address",
    ["a@b", "first.last@example.com", '"odd local"@example.com', "<a@b.c>", " a@b ",
     "ü@example.com", "a+b!#$%&'*/=?^_`{|}~-@x"],
)  # fmt: skip
def test_emails(address: str) -> None:
    assert email(address) == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "'mail: no address'"),
        ("  ", "'mail: no address'"),
        ("nobody", "'mail: missing '@' or angle-addr'"),
        ("a@b@c", "'mail: expected single address'"),
        ("a@b, c@d", "'mail: expected single address'"),
        ("a b@c", "'mail: expected single address'"),
        (".a@b", "'mail: expected single address'"),
        ("Ann <a@b>", "display names are not allowed"),
        ('"Ann B" <a@b>', "display names are not allowed"),
        ("Ann<a@b>", "display names are not allowed"),
        ("Ann > <a@b> x", "'mail: expected single address'"),
    ],
)
def test_no_emails(address: str, reason: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        email(address)
    assert str(failed.value) == f"error converting '{address}' to e-mail: {reason}"


def test_the_domain_of_an_email_must_be_a_dns_name() -> None:
    with pytest.raises(EvaluationError, match="to e-mail: 'error converting '-b' to dns name"):
        email("a@-b")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("a@B.c", "a@b.C", True),
        ('"a"@b', "a@b", True),
        ('"a\\"b"@c', '"a\\"b"@C', True),
        ("A@b", "a@b", False),
        ("a@b", "a@c", False),
    ],
)
def test_same_email(left: str, right: str, same: bool) -> None:
    assert same_email(left, right) is same

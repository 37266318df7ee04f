"""Certificates and keys as Secrets hold them (pilot.md I5); Envoy is asked in its own tests."""

from __future__ import annotations

import pytest

from mast.common.credentials import Credential, credential, defects
from tests.support.credential_cases import BAD, GOOD, USELESS, Values


@pytest.mark.parametrize("values", GOOD.values(), ids=list(GOOD))
def test_good(values: Values) -> None:
    assert list(defects(credential(values))) == []


@pytest.mark.parametrize("values", [*BAD.values(), *USELESS.values()], ids=[*BAD, *USELESS])
def test_bad(values: Values) -> None:
    found = list(defects(credential(values)))
    assert found
    assert all(each.name in values for each in found)
    assert not any("nothing" in each.message.replace("holds no", "") for each in found)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("cert", "key", "tls.crt", "tls.key"), ("cert", "key")),
        (("tls.crt", "tls.key"), ("tls.crt", "tls.key")),
        (("cert", "tls.crt", "tls.key"), ("tls.crt", "tls.key")),
        (("tls.key",), (None, "tls.key")),
        (("cert",), ("cert", None)),
        ((), (None, None)),
    ],
)
def test_a_certificate_goes_with_the_key_beside_it(
    names: tuple[str, ...], chosen: tuple[str | None, str | None]
) -> None:
    found = credential(dict.fromkeys(names, b"x"))
    assert (found.chain and found.chain.name, found.key and found.key.name) == chosen


def test_generic_names_come_first() -> None:
    found = credential(dict.fromkeys(("cacert", "ca.crt", "crl", "ca.crl"), b"x"))
    assert found.roots is not None
    assert found.crl is not None
    assert (found.roots.name, found.crl.name) == ("cacert", "crl")


def test_empty_values_are_none() -> None:
    assert credential({"tls.crt": b"", "ca.crt": b""}) == Credential()


def test_values_are_not_shown() -> None:
    assert "very private" not in repr(credential({"tls.key": b"very private"}))

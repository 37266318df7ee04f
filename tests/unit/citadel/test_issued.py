"""Records of issued certificates and what is selected of them (citadel-and-agent.md A12)."""

from __future__ import annotations

import pytest

from mast.citadel.core.csr import read_csr
from mast.citadel.core.issued import issued, issued_key, selected
from mast.citadel.core.leaf import TtlPolicy
from mastapi.citadel.v1 import issued_pb2
from tests.unit.citadel.examples import HOUR, ME, NOW, authority, csr_pem, private_key


@pytest.mark.parametrize(
    ("kind", "told"), [("P256", "P-256"), ("P384", "P-384"), ("RSA2048", "RSA 2048")]
)
def test_record(kind: str, told: str) -> None:
    leaf = authority().issue(
        read_csr(csr_pem(private_key(kind))),
        (ME, "a.example", "10.0.0.1"),
        HOUR,
        policy=TtlPolicy(),
        now=NOW,
        serial=0xABC,
    )
    key = read_csr(csr_pem(private_key(kind))).public_key
    names = (ME, "a.example", "10.0.0.1")
    record = issued(leaf, names, key, authenticator="join token", peer="10.0.0.7")
    assert (record.serial, record.key) == ("abc", told)
    assert list(record.names) == [ME, "a.example", "10.0.0.1"]
    assert record.not_after.ToDatetime(tzinfo=NOW.tzinfo) == NOW + HOUR
    assert issued_key(record) == "ca/issued/abc"


def record(serial: str, begins: int, *names: str) -> issued_pb2.IssuedCertificate:
    made = issued_pb2.IssuedCertificate(serial=serial, names=names)
    made.not_before.FromSeconds(begins)
    return made


RECORDS = [record("1", 10, "a/b", "x"), record("2a", 30, "a/c"), record("3", 20, "z")]


@pytest.mark.parametrize(
    ("identity", "serial", "limit", "serials", "left_out"),
    [
        pytest.param("", "", 0, ["2a", "3", "1"], 0, id="all-newest-first"),
        pytest.param("", "", 2, ["2a", "3"], 1, id="limited"),
        pytest.param("x", "", 0, ["1"], 0, id="any-name"),
        pytest.param("a/*", "", 0, ["2a", "1"], 0, id="beginning"),
        pytest.param("*", "", 0, ["2a", "3", "1"], 0, id="star"),
        pytest.param("", "00:2A", 0, ["2a"], 0, id="serial-as-openssl-writes-it"),
        pytest.param("", "2", 0, [], 0, id="whole-serials-only"),
    ],
)
def test_selected(
    identity: str, serial: str, limit: int, serials: list[str], left_out: int
) -> None:
    found, more = selected(RECORDS, identity, serial, limit)
    assert ([each.serial for each in found], more) == (serials, left_out)

"""DNS messages: our answers, truncation, what counts as an answer (citadel-and-agent.md B8.3)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from mast.agent.core import dns
from mast.agent.core.dns import NoQuery, Query, Resolver
from mast.agent.core.names import Names

NAMES = Names(
    {
        "web.example.com": tuple(map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.3"))),
        "v6.example.com": (ip_address("fd00::1"),),
    },
    search="shop.svc.cluster.local",
)


def asked(name: str, kind: str = "A", **header: int) -> Query:
    question = DNSQuestion(name, getattr(QTYPE, kind))
    return dns.query(DNSRecord(DNSHeader(id=7, **header), q=question).pack())


def rows(reply: DNSRecord | None) -> list[tuple[str, str, str]]:
    assert reply is not None
    return [(str(r.rname), QTYPE[r.rtype], str(r.rdata)) for r in reply.rr]


def test_addresses_with_ttl_and_authority() -> None:
    reply = dns.resolve(asked("web.example.com", rd=1), NAMES, 0)
    assert reply is not None
    assert rows(reply) == [("web.example.com.", "A", f"10.0.0.{n}") for n in (1, 2, 3)]
    assert {each.ttl for each in reply.rr} == {30}
    header = reply.header
    assert (header.id, header.qr, header.aa, header.rd, header.rcode) == (7, 1, 1, 1, 0)


@pytest.mark.parametrize(("turn", "first"), [(0, 1), (1, 2), (2, 3), (3, 1)])
def test_rotation(turn: int, first: int) -> None:
    reply = dns.resolve(asked("web.example.com"), NAMES, turn)
    assert rows(reply)[0][2] == f"10.0.0.{first}"
    assert len(rows(reply)) == 3


def test_other_family_is_empty_not_absent() -> None:
    reply = dns.resolve(asked("web.example.com", "AAAA"), NAMES, 1)
    assert rows(reply) == []
    assert reply is not None
    assert reply.header.rcode == RCODE.NOERROR
    assert rows(dns.resolve(asked("v6.example.com", "AAAA"), NAMES, 0)) == [
        ("v6.example.com.", "AAAA", "fd00::1")
    ]


def test_alias_by_search_domain() -> None:
    reply = dns.resolve(asked("v6.example.com.shop.svc.cluster.local", "AAAA"), NAMES, 0)
    assert rows(reply) == [
        ("v6.example.com.shop.svc.cluster.local.", "CNAME", "v6.example.com."),
        ("v6.example.com.", "AAAA", "fd00::1"),
    ]


@pytest.mark.parametrize(("name", "kind"), [("other.example.com", "A"), ("web.example.com", "MX")])
def test_the_rest_is_not_ours(name: str, kind: str) -> None:
    assert dns.resolve(asked(name, kind), NAMES, 0) is None


def test_failure_keeps_the_question() -> None:
    reply = dns.failure(asked("web.example.com"))
    assert reply.header.rcode == RCODE.SERVFAIL
    assert str(reply.q.qname) == "web.example.com."


def test_truncation() -> None:
    reply = dns.resolve(asked("web.example.com"), NAMES, 0)
    assert reply is not None
    whole = len(reply.pack())
    short = DNSRecord.parse(dns.packed(reply, whole - 1))
    assert (len(short.rr), short.header.tc) == (2, 1)
    assert len(dns.packed(dns.failure(asked("web.example.com")), 5)) > 5, "the question stays"


def test_sizes_over_udp() -> None:
    assert asked("web.example.com").udp_bytes == 512
    for offered, taken in ((4096, 4096), (100, 512)):
        record = DNSRecord(q=DNSQuestion("web.example.com"))
        record.add_ar(EDNS0(udp_len=offered))
        assert dns.query(record.pack()).udp_bytes == taken


@pytest.mark.parametrize(
    ("reply", "fits"),
    [
        pytest.param(
            DNSRecord(DNSHeader(id=7, qr=1), q=DNSQuestion("Web.example.com")), True, id="answer"
        ),
        pytest.param(
            DNSRecord(DNSHeader(id=8, qr=1), q=DNSQuestion("web.example.com")), False, id="other-id"
        ),
        pytest.param(
            DNSRecord(DNSHeader(id=7, qr=0), q=DNSQuestion("web.example.com")), False, id="a-query"
        ),
        pytest.param(
            DNSRecord(DNSHeader(id=7, qr=1), q=DNSQuestion("x.example.com")), False, id="other-name"
        ),
        pytest.param(
            DNSRecord(DNSHeader(id=7, qr=1), q=DNSQuestion("web.example.com", QTYPE.AAAA)),
            False,
            id="other-type",
        ),
        pytest.param(DNSRecord(DNSHeader(id=7, qr=1)), False, id="no-question"),
    ],
)
def test_what_answers_a_query(reply: DNSRecord, fits: bool) -> None:
    assert dns.matches(asked("web.example.com"), reply.pack()) is fits


def test_noise_answers_nothing() -> None:
    assert not dns.matches(asked("web.example.com"), b"noise")


@pytest.mark.parametrize(
    "data",
    [b"", b"short", DNSRecord(DNSHeader(qr=1), q=DNSQuestion("x")).pack(), DNSRecord().pack()],
    ids=["empty", "short", "an-answer", "no-question"],
)
def test_what_is_no_query(data: bytes) -> None:
    with pytest.raises(NoQuery):
        dns.query(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_query_or_refused(data: bytes) -> None:
    try:
        found = dns.query(data)
    except NoQuery:
        return
    reply = dns.resolve(found, NAMES, 0) or dns.failure(found)
    assert len(dns.packed(reply, 512)) >= 12


def test_resolv_conf() -> None:
    text = """
    # comment
    nameserver 10.96.0.10
    nameserver fd00::53 ; the other
    search a.example b.example
    domain shop.svc.cluster.local
    options ndots:5
    nameserver
    """
    assert dns.resolver(text) == Resolver(("10.96.0.10", "fd00::53"), ("shop.svc.cluster.local",))
    assert dns.resolver("") == Resolver()

"""DNS messages: a query in, our answer out, or word that others must be asked (B8)."""

from dataclasses import dataclass
from typing import Final

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSError, DNSHeader, DNSQuestion, DNSRecord

from mast.agent.core.names import Answer, Names

TTL: Final = 30
PLAIN_UDP_BYTES: Final = 512
MOST_BYTES: Final = 65535
_FAMILIES: Final = {QTYPE.A: 4, QTYPE.AAAA: 6}


class NoQuery(ValueError):
    """Bytes that are no DNS query: they deserve no answer."""


@dataclass(frozen=True)
class Query:
    """A question as it came, with what is needed to answer it."""

    data: bytes
    record: DNSRecord

    @property
    def question(self) -> DNSQuestion:
        """The first question; others are not answered by anybody."""
        return self.record.q

    @property
    def udp_bytes(self) -> int:
        """The largest answer that the client takes over UDP (EDNS)."""
        sizes = [each.edns_len for each in self.record.ar if each.rtype == QTYPE.OPT]
        return max([PLAIN_UDP_BYTES, *(int(size) for size in sizes)])


def query(data: bytes) -> Query:
    """Parse a query. Raises NoQuery for anything else."""
    try:
        record = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError, UnicodeError) as error:
        raise NoQuery(f"not a DNS message: {error}") from error
    if record.header.qr or not record.questions:
        raise NoQuery("a DNS message, but not a query")
    return Query(data, record)


def resolve(query: Query, names: Names, turn: int) -> DNSRecord | None:
    """The mesh's answer, None if the name or the type is not the mesh's business.

    A known host without addresses of the asked family gets NOERROR and no record: NXDOMAIN would
    deny the other family too. ``turn`` rotates the addresses, so that callers spread out.
    """
    family = _FAMILIES.get(query.question.qtype)
    if family is None:
        return None
    answer = names.lookup(str(query.question.qname))
    if answer is None:
        return None
    return _reply(query, answer, family, turn)


def _reply(query: Query, answer: Answer, family: int, turn: int) -> DNSRecord:
    reply = _blank(query)
    reply.header.aa = 1
    owner = query.question.qname
    addresses = answer.family(family)
    if answer.alias:
        reply.add_answer(RR(owner, QTYPE.CNAME, rdata=CNAME(answer.alias), ttl=TTL))
        owner = answer.alias
    shift = turn % len(addresses) if addresses else 0
    for address in addresses[shift:] + addresses[:shift]:
        rdata = A(str(address)) if family == 4 else AAAA(str(address))
        reply.add_answer(RR(owner, query.question.qtype, rdata=rdata, ttl=TTL))
    return reply


def failure(query: Query) -> DNSRecord:
    """SERVFAIL: no table yet, or no upstream server answered."""
    reply = _blank(query)
    reply.header.rcode = RCODE.SERVFAIL
    return reply


def _blank(query: Query) -> DNSRecord:
    header = query.record.header
    return DNSRecord(
        DNSHeader(id=header.id, qr=1, ra=1, rd=header.rd, opcode=header.opcode),
        questions=[query.question],
    )


def packed(reply: DNSRecord, limit: int) -> bytes:
    """The reply in at most ``limit`` bytes; what does not fit is left out and TC set."""
    data: bytes = reply.pack()
    while len(data) > limit and reply.rr:
        reply.rr.pop()
        reply.header.tc = 1
        data = reply.pack()
    return data


def matches(query: Query, data: bytes) -> bool:
    """Whether bytes from an upstream server answer this query: same ID, same question."""
    try:
        reply = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError, UnicodeError):
        return False
    return (
        reply.header.qr == 1
        and reply.header.id == query.record.header.id
        and bool(reply.questions)
        and reply.q.qtype == query.question.qtype
        and str(reply.q.qname).lower() == str(query.question.qname).lower()
    )


@dataclass(frozen=True)
class Resolver:
    """What resolv.conf says: servers to ask and domains to search."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def resolver(text: str) -> Resolver:
    """Read the text of resolv.conf; the last ``search`` or ``domain`` line counts."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in {"search", "domain"}:
            search = tuple(words[1:])
    return Resolver(tuple(servers), search)

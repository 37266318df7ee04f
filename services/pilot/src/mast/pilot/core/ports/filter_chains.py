"""Filter chains of listeners: what they match, and that no two match the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from itertools import product
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
)

from mast.pilot.core.cidrs import cidr_range

TLS: Final = "tls"
RAW: Final = "raw_buffer"
"""Transports that listener filters detect."""

PLAIN_HTTP: Final = ("http/1.1", "h2c")
"""Application protocols that the HTTP inspector finds in plain text (pilot.md E2)."""

Signature = tuple[int, str, str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A filter chain; empty criteria match anything.

    `subnets` are CIDRs or addresses of the destination, `sources` of the client, `snis` server
    names, exact or `*.x`. `handshake_timeout` bounds the handshake of the transport socket; without
    it Envoy waits without limit.
    """

    name: str = ""
    filters: tuple[Filter, ...]
    port: int = 0
    subnets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    snis: tuple[str, ...] = ()
    transport: str = ""
    alpns: tuple[str, ...] = ()
    transport_socket: TransportSocket | None = None
    handshake_timeout: timedelta | None = None

    @property
    def matches_everything(self) -> bool:
        """It has no criteria."""
        return not (
            self.port or self.subnets or self.sources or self.snis or self.transport or self.alpns
        )

    @property
    def signatures(self) -> frozenset[Signature]:
        """What Envoy compares: one entry per combination of the values of all criteria."""
        return frozenset(
            (self.port, subnet, source, sni, self.transport, alpn)
            for subnet, source, sni, alpn in product(
                _networks(self.subnets) or [""],
                _networks(self.sources) or [""],
                _names(self.snis) or [""],
                self.alpns or [""],
            )
        )


def apart(chain: Chain, others: Iterable[Chain]) -> Chain | None:
    """The chain without the server names or subnets that others match already, None if all are.

    Envoy refuses a listener in which one combination leads to two chains (pilot.md E6, N11).
    """
    taken = frozenset[Signature]().union(*(each.signatures for each in others))
    if taken.isdisjoint(chain.signatures):
        return chain
    for rest in (
        [replace(chain, snis=(each,)) for each in chain.snis],
        [replace(chain, subnets=(each,)) for each in chain.subnets],
    ):
        free = [each for each in rest if taken.isdisjoint(each.signatures)]
        if free:
            return replace(
                chain,
                snis=tuple(dict.fromkeys(sni for each in free for sni in each.snis)),
                subnets=tuple(dict.fromkeys(subnet for each in free for subnet in each.subnets)),
            )
    return None


def distinct(chains: Iterable[Chain]) -> list[Chain]:
    """The chains in order, each without what an earlier one matches."""
    kept: list[Chain] = []
    for chain in chains:
        rest = apart(chain, kept)
        if rest is not None:
            kept.append(rest)
    return kept


def filter_chains(chains: Iterable[Chain]) -> Sequence[FilterChain]:
    """The messages of chains that are distinct."""
    return [filter_chain(each) for each in distinct(chains)]


def filter_chain(chain: Chain) -> FilterChain:
    """The message of one chain."""
    result = FilterChain(name=chain.name, filters=chain.filters)
    if chain.transport_socket:
        result.transport_socket.CopyFrom(chain.transport_socket)
    if chain.handshake_timeout:
        result.transport_socket_connect_timeout.FromTimedelta(chain.handshake_timeout)
    if not chain.matches_everything:
        result.filter_chain_match.CopyFrom(_match(chain))
    return result


def _match(chain: Chain) -> FilterChainMatch:
    match = FilterChainMatch(
        prefix_ranges=[cidr_range(each) for each in _networks(chain.subnets)],
        source_prefix_ranges=[cidr_range(each) for each in _networks(chain.sources)],
        server_names=_names(chain.snis),
        transport_protocol=chain.transport,
        application_protocols=chain.alpns,
    )
    if chain.port:
        match.destination_port.value = chain.port
    return match


def _networks(subnets: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(ip_network(each, strict=False)) for each in subnets))


def _names(snis: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(each.lower() for each in snis))

"""Which listener and which filter chain take a connection (Envoy, "Listener", "FilterChainMatch").

Criteria are compared in Envoy's order. Each narrows the chains down for good: having found a chain
for the port or the server name, Envoy does not come back for another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.listener.v3.listener_components_pb2 import (
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
)
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.cli.explain.traffic import HTTP_1, HTTP_2, RAW, TLS, Connection
from mast.common.envoy.matchers import NotUnderstood

TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
HTTP_INSPECTOR = "envoy.filters.listener.http_inspector"
ORIGINAL_DST = "envoy.filters.listener.original_dst"

_ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - what listeners are bound to
_LOCAL = FilterChainMatch.SAME_IP_OR_LOOPBACK
_EXTERNAL = FilterChainMatch.EXTERNAL


@dataclass(frozen=True)
class Seen:
    """What listener filters make out of a connection."""

    transport: str
    server_name: str
    alpns: tuple[str, ...]


def bound_to(listeners: Iterable[Listener], address: str, port: int) -> Listener | None:
    """The listener whose socket takes connections to an address: an exact one, or for any."""
    return _at(listeners, address, port, lambda each: _binds(each))


def handed_over(listeners: Iterable[Listener], first: Listener, dialled: Connection) -> Listener:
    """The listener for the address that was dialled before capture; else the capturing one.

    A listener for exactly that address comes before one for any address with that port.
    """
    if not first.use_original_dst.value:
        return first
    found = _at(listeners, dialled.address, dialled.port, lambda each: True)
    return found or first


def _at(
    listeners: Iterable[Listener], address: str, port: int, fits: Callable[[Listener], bool]
) -> Listener | None:
    version = ip_address(address).version
    # Listeners for any IPv6 address take IPv4 too if they say so.
    for wanted, compatible in ((address, False), (_ANY[version], False), ("::", True)):
        for each in listeners:
            for socket, mapped in _sockets(each):
                if socket == (wanted, port) and fits(each) and (mapped or not compatible):
                    return each
    return None


def _sockets(listener: Listener) -> Iterator[tuple[tuple[str, int], bool]]:
    for each in (listener.address, *(more.address for more in listener.additional_addresses)):
        socket = each.socket_address
        yield (socket.address, socket.port_value), socket.ipv4_compat


def _binds(listener: Listener) -> bool:
    return not listener.HasField("bind_to_port") or listener.bind_to_port.value


def seen(listener: Listener, connection: Connection) -> Seen:
    """What the inspectors that are not switched off for the connection detect."""
    names = {each.name for each in listener.listener_filters if not _switched_off(each, connection)}
    if connection.transport == TLS:
        if TLS_INSPECTOR not in names:
            return Seen("", "", ())
        return Seen(TLS, connection.server_name.lower(), connection.alpns)
    alpns: tuple[str, ...] = ()
    if HTTP_INSPECTOR in names and connection.speaks in {HTTP_1, HTTP_2}:
        alpns = (connection.speaks,)
    return Seen(RAW, "", alpns)


def _switched_off(each: ListenerFilter, connection: Connection) -> bool:
    return each.HasField("filter_disabled") and _holds(each.filter_disabled, connection)


def _holds(predicate: ListenerFilterChainMatchPredicate, connection: Connection) -> bool:
    match predicate.WhichOneof("rule"):
        case "or_match":
            return any(_holds(each, connection) for each in predicate.or_match.rules)
        case "and_match":
            return all(_holds(each, connection) for each in predicate.and_match.rules)
        case "not_match":
            return not _holds(predicate.not_match, connection)
        case "any_match":
            return predicate.any_match
        case "destination_port_range":
            wanted = predicate.destination_port_range
            return bool(wanted.start <= connection.port < wanted.end)
    raise NotUnderstood("a predicate of a listener filter that is none of Envoy's")


def filter_chain(listener: Listener, connection: Connection) -> FilterChain | None:
    """The chain that takes a connection, the default one if none does, None without either."""
    if listener.HasField("filter_chain_matcher"):
        raise NotUnderstood("filter_chain_matcher")
    found = _narrowed(list(listener.filter_chains), connection, seen(listener, connection))
    if found:
        return found[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


Chains = Sequence[FilterChain]


def _narrowed(chains: Chains, connection: Connection, known: Seen) -> Chains:
    at, source = ip_address(connection.address), ip_address(connection.source_address)
    ports = [each for each in chains if _port(each) == connection.port]
    chains = ports or [each for each in chains if _port(each) is None]
    chains = _closest(chains, lambda match: match.prefix_ranges, at)
    chains = _by_server_name(chains, known.server_name)
    chains = _one_of(chains, lambda match: match.transport_protocol, [known.transport])
    chains = _by_protocol(chains, known.alpns)
    chains = _closest(chains, lambda match: match.direct_source_prefix_ranges, source)
    chains = _by_source_type(chains, at, source)
    chains = _closest(chains, lambda match: match.source_prefix_ranges, source)
    return _by_source_port(chains, connection.source_port)


def _port(chain: FilterChain) -> int | None:
    match = chain.filter_chain_match
    return match.destination_port.value if match.HasField("destination_port") else None


def _closest(
    chains: Chains,
    ranges: Callable[[FilterChainMatch], Iterable[CidrRange]],
    address: IPv4Address | IPv6Address,
) -> Chains:
    """Chains with the longest of the prefixes that hold an address; none is the shortest."""
    found: dict[int, list[FilterChain]] = {}
    for chain in chains:
        given = list(ranges(chain.filter_chain_match))
        lengths = {_length(each, address) for each in given} - {-1} if given else {0}
        for length in lengths:
            found.setdefault(length, []).append(chain)
    return found[max(found)] if found else []


def _length(prefix: CidrRange, address: IPv4Address | IPv6Address) -> int:
    network = ip_network(f"{prefix.address_prefix}/{prefix.prefix_len.value}", strict=False)
    return network.prefixlen if address.version == network.version and address in network else -1


def _by_server_name(chains: Chains, name: str) -> Chains:
    """The exact name, then the longest wildcard, then chains without names."""
    candidates = [name] if name else []
    labels = name.split(".")
    candidates += [".".join(("*", *labels[n:])) for n in range(1, len(labels))] if name else []
    return _one_of(chains, lambda match: match.server_names, candidates)


def _by_protocol(chains: Chains, alpns: Sequence[str]) -> Chains:
    """The first protocol offered that any chain asks for, then chains that ask for none."""
    return _one_of(chains, lambda match: match.application_protocols, alpns)


def _one_of(
    chains: Chains,
    values: Callable[[FilterChainMatch], Iterable[str] | str],
    candidates: Iterable[str],
) -> Chains:
    """Chains that ask for the first candidate that any asks for, else those that ask for none."""
    asked = [(each, _texts(values(each.filter_chain_match))) for each in chains]
    for candidate in candidates:
        if found := [chain for chain, wanted in asked if candidate in wanted]:
            return found
    return [chain for chain, wanted in asked if not wanted]


def _texts(value: Iterable[str] | str) -> Sequence[str]:
    if isinstance(value, str):
        return [value] if value else []
    return list(value)


def _by_source_type(
    chains: Chains, at: IPv4Address | IPv6Address, source: IPv4Address | IPv6Address
) -> Chains:
    wanted = _LOCAL if at == source or source.is_loopback else _EXTERNAL
    own = [each for each in chains if each.filter_chain_match.source_type == wanted]
    return own or [
        each for each in chains if each.filter_chain_match.source_type == FilterChainMatch.ANY
    ]


def _by_source_port(chains: Chains, port: int) -> Chains:
    own = [each for each in chains if port in each.filter_chain_match.source_ports]
    return own or [each for each in chains if not each.filter_chain_match.source_ports]

"""Traffic capture: parameters in, netfilter rules in their order out (citadel-and-agent.md C).

Comments beside rules are the numbers of C2; what each of them prevents is in C3.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, Literal

Family = Literal[4, 6]
Mode = Literal["REDIRECT", "TPROXY"]

INBOUND: Final = "ISTIO_INBOUND"
REDIRECT: Final = "ISTIO_REDIRECT"
IN_REDIRECT: Final = "ISTIO_IN_REDIRECT"
OUTPUT: Final = "ISTIO_OUTPUT"
OUTPUT_DNS: Final = "ISTIO_OUTPUT_DNS"
DIVERT: Final = "ISTIO_DIVERT"
TPROXY: Final = "ISTIO_TPROXY"
DROP: Final = "ISTIO_DROP"
GUARD: Final = "ISTIO_GUARD"
DNS_PORT: Final = "15053"
OUTBOUND_MARK: Final = "1338"
PROXY_SOURCE: Final = {4: "127.0.0.6/32", 6: "::6/128"}
"""Where inbound clusters connect from: their connections must not be captured again."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What to capture (C1). Ports, uids, gids and interfaces are texts as iptables takes them.

    ``inbound_ports`` and ``outbound_cidrs`` may be ``("*",)``. ``owner_groups`` ``("*",)`` takes
    every group but ``excluded_groups``. ``dns_servers`` are the addresses whose port 53 goes to
    the agent; ``capture_all_dns`` takes every port 53 instead.
    """

    mode: Mode = "REDIRECT"
    outbound_port: str = "15001"
    inbound_port: str = "15006"
    tunnel_port: str = "15008"
    uids: tuple[str, ...] = ("1337",)
    gids: tuple[str, ...] = ("1337",)
    inbound_ports: tuple[str, ...] = ()
    excluded_inbound_ports: tuple[str, ...] = ()
    outbound_cidrs: tuple[str, ...] = ("*",)
    excluded_outbound_cidrs: tuple[str, ...] = ()
    outbound_ports: tuple[str, ...] = ()
    excluded_outbound_ports: tuple[str, ...] = ()
    kubevirt_interfaces: tuple[str, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    owner_groups: tuple[str, ...] = ("*",)
    excluded_groups: tuple[str, ...] = ()
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers: tuple[str, ...] = ()
    drop_invalid: bool = False
    mark: str = "1337"
    route_table: str = "133"
    loopback_cidr: str = "127.0.0.1/32"

    def __post_init__(self) -> None:
        """Raises ValueError that names the flag and the value that iptables would not take."""
        if self.mode not in {"REDIRECT", "TPROXY"}:
            raise ValueError(f"-m {self.mode!r}: want REDIRECT or TPROXY")
        for flag, cidrs in (
            ("-i", self.outbound_cidrs),
            ("-x", self.excluded_outbound_cidrs),
        ):
            for cidr in cidrs:
                if cidr == "*" and flag == "-i":
                    continue
                try:
                    ip_network(cidr, strict=False)
                except ValueError as error:
                    raise ValueError(f"{flag} {cidr!r}: {error}") from error
        ports = {
            "-p": (self.outbound_port,),
            "-z": (self.inbound_port,),
            "-e": (self.tunnel_port,),
            "-b": tuple(each for each in self.inbound_ports if each != "*"),
            "-d": self.excluded_inbound_ports,
            "-q": self.outbound_ports,
            "-o": self.excluded_outbound_ports,
        }
        for flag, values in ports.items():
            for value in values:
                if not value.isdecimal() or not 0 < int(value) < 65536:
                    raise ValueError(f"{flag} {value!r}: want a port, 1 to 65535")

    @property
    def tproxy(self) -> bool:
        """Inbound connections keep the client's address (C5)."""
        return self.mode == "TPROXY"

    @property
    def dns(self) -> bool:
        """DNS is redirected: asked for, and it is known to which servers it goes."""
        return self.redirect_dns and bool(self.capture_all_dns or self.dns_servers)

    def loopback(self, family: Family) -> str:
        """The destination that stays direct: 127.0.0.1 alone, not 127.0.0.0/8."""
        return self.loopback_cidr if family == 4 else "::1/128"

    def cidrs(self, texts: Iterable[str], family: Family) -> tuple[str, ...]:
        """The networks of one family, in canonical form; ``*`` fits both."""
        found = []
        for text in texts:
            if text == "*":
                found.append(text)
            elif (network := ip_network(text, strict=False)).version == family:
                found.append(str(network))
        return tuple(found)

    def captures_loopback(self) -> bool:
        """An included network is loopback: the user wants it captured (rule 11)."""
        networks = [each for each in self.outbound_cidrs if each != "*"]
        return any(ip_network(each, strict=False).is_loopback for each in networks)

    def dns_destinations(self, family: Family) -> tuple[tuple[str, ...], ...]:
        """The ``-d`` arguments of DNS rules, one per server; one empty one for all servers."""
        if not self.redirect_dns:
            return ()
        if self.capture_all_dns:
            return ((),)
        bits = 32 if family == 4 else 128
        servers = [each for each in self.dns_servers if ip_address(each).version == family]
        return tuple(("-d", f"{server}/{bits}") for server in servers)


@dataclass(frozen=True)
class Rule:
    """One rule: table, chain and the words after it. ``position`` inserts instead of appending."""

    table: str
    chain: str
    words: tuple[str, ...]
    position: int = 0

    @property
    def own(self) -> bool:
        """In a chain of ours, not in a built-in one."""
        return self.chain.startswith("ISTIO_")

    @property
    def target(self) -> str:
        """What ``-j`` names."""
        return self.words[self.words.index("-j") + 1]


def rules(capture: Capture, family: Family) -> tuple[Rule, ...]:
    """Every rule of one family, in the order in which iptables must hold them."""
    return (
        *_kubevirt(capture, family),
        *_interfaces(capture),
        *_drop_invalid(capture),
        *_redirects(capture),
        *_inbound(capture, family),
        *_outbound(capture, family),
        *_dns_zones(capture, family),
    )


def guard_rules() -> tuple[Rule, ...]:
    """Nothing passes while rules are exchanged (C4, ``--reconcile``)."""
    drops = [Rule("filter", GUARD, ("-p", each, "-j", "DROP")) for each in ("tcp", "udp")]
    jumps = [
        Rule("filter", chain, ("-j", GUARD), position=1) for chain in ("INPUT", "FORWARD", "OUTPUT")
    ]
    return (*drops, *jumps)


def _nat(chain: str, text: str, *, position: int = 0) -> Rule:
    return Rule("nat", chain, tuple(text.split()), position)


def _mangle(chain: str, text: str) -> Rule:
    return Rule("mangle", chain, tuple(text.split()))


def _raw(chain: str, text: str) -> Rule:
    return Rule("raw", chain, tuple(text.split()))


def _kubevirt(capture: Capture, family: Family) -> Iterator[Rule]:
    """Virtual machines behind an interface: their outbound is captured, the rest passes."""
    position = 0
    targets = capture.cidrs(capture.outbound_cidrs, family)
    for interface in capture.kubevirt_interfaces:
        for cidr in targets:
            position += 1
            destination = "" if cidr == "*" else f"-d {cidr}"
            yield _nat(
                "PREROUTING", f"-i {interface} {destination} -j {REDIRECT}", position=position
            )
    for interface in capture.kubevirt_interfaces:
        position += 1
        yield _nat("PREROUTING", f"-i {interface} -j RETURN", position=position)


def _interfaces(capture: Capture) -> Iterator[Rule]:
    for table in ("nat", "mangle") if capture.tproxy else ("nat",):  # 1
        for interface in capture.excluded_interfaces:
            yield Rule(table, "PREROUTING", ("-i", interface, "-j", "RETURN"))
            yield Rule(table, "OUTPUT", ("-o", interface, "-j", "RETURN"))


def _drop_invalid(capture: Capture) -> Iterator[Rule]:
    if capture.drop_invalid:
        yield _mangle("PREROUTING", f"-m conntrack --ctstate INVALID -j {DROP}")
        yield _mangle(DROP, "-j DROP")


def _redirects(capture: Capture) -> Iterator[Rule]:
    yield _nat(INBOUND, f"-p tcp --dport {capture.tunnel_port} -j RETURN")  # 2
    yield _nat(REDIRECT, f"-p tcp -j REDIRECT --to-ports {capture.outbound_port}")  # 3
    yield _nat(IN_REDIRECT, f"-p tcp -j REDIRECT --to-ports {capture.inbound_port}")  # 4


def _inbound(capture: Capture, family: Family) -> Iterator[Rule]:
    if not capture.inbound_ports:
        return
    if capture.tproxy:
        yield from _inbound_tproxy(capture, family)
        return
    yield _nat("PREROUTING", f"-p tcp -j {INBOUND}")  # 5
    for match in _inbound_matches(capture):  # 6
        yield _nat(INBOUND, match)
    if capture.inbound_ports == ("*",):
        yield _nat(INBOUND, f"-p tcp -j {IN_REDIRECT}")
        return
    for port in capture.inbound_ports:
        yield _nat(INBOUND, f"-p tcp --dport {port} -j {IN_REDIRECT}")


def _inbound_matches(capture: Capture) -> Iterator[str]:
    """Excluded ports count only where everything else is captured."""
    if capture.inbound_ports == ("*",):
        for port in capture.excluded_inbound_ports:
            yield f"-p tcp --dport {port} -j RETURN"


def _inbound_tproxy(capture: Capture, family: Family) -> Iterator[Rule]:
    """C5: route to the local proxy by mark, without changing addresses."""
    loopback, source, mark = capture.loopback(family), PROXY_SOURCE[family], capture.mark
    yield _mangle(DIVERT, f"-j MARK --set-mark {mark}")
    yield _mangle(DIVERT, "-j ACCEPT")
    yield _mangle(
        TPROXY,
        f"! -d {loopback} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff"
        f" --on-port {capture.inbound_port}",
    )
    yield _mangle("PREROUTING", f"-p tcp -j {INBOUND}")
    yield _mangle(INBOUND, f"-p tcp -m mark --mark {mark} -j RETURN")
    yield _mangle(INBOUND, f"-p tcp -s {source} -i lo -j RETURN")
    yield _mangle(INBOUND, f"-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN")
    for match in _inbound_matches(capture):
        yield _mangle(INBOUND, match)
    every = capture.inbound_ports == ("*",)
    for port in [""] if every else [f"--dport {each} " for each in capture.inbound_ports]:
        yield _mangle(
            INBOUND, f"-p tcp {port}-m conntrack --ctstate RELATED,ESTABLISHED -j {DIVERT}"
        )
        yield _mangle(INBOUND, f"-p tcp {port}-j {TPROXY}")
    yield _mangle("PREROUTING", f"-p tcp -m mark --mark {mark} -j CONNMARK --save-mark")
    yield _mangle("OUTPUT", f"-p tcp -o lo -m mark --mark {mark} -j RETURN")
    for kind, identity in _owners(capture):
        yield _mangle(
            "OUTPUT",
            f"! -d {loopback} -p tcp -o lo -m owner --{kind}-owner {identity}"
            f" -j MARK --set-mark {OUTBOUND_MARK}",
        )
    yield _mangle("OUTPUT", f"-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark")


def _owners(capture: Capture) -> Iterator[tuple[str, str]]:
    yield from (("uid", each) for each in capture.uids)
    yield from (("gid", each) for each in capture.gids)


def _outbound(capture: Capture, family: Family) -> Iterator[Rule]:
    loopback = capture.loopback(family)
    yield _nat("OUTPUT", f"-j {OUTPUT}")  # 7
    for port in capture.excluded_outbound_ports:  # 8
        yield _nat(OUTPUT, f"-p tcp --dport {port} -j RETURN")
        yield _nat(OUTPUT, f"-p udp --dport {port} -j RETURN")
    yield _nat(OUTPUT, f"-o lo -s {PROXY_SOURCE[family]} -j RETURN")  # 9
    for kind, identity in _owners(capture):
        yield from _proxy_traffic(capture, loopback, kind, identity)
    yield from _owner_groups(capture)
    destinations = capture.dns_destinations(family)
    if destinations:  # 15
        yield _nat(OUTPUT, f"-j {OUTPUT_DNS}")
        for protocol in ("tcp", "udp"):
            for destination in destinations:
                where = " ".join(destination)
                yield _nat(
                    OUTPUT_DNS,
                    f"-p {protocol} --dport 53 {where} -j REDIRECT --to-ports {DNS_PORT}",
                )
    yield _nat(OUTPUT, f"-d {loopback} -j RETURN")  # 16
    for cidr in capture.cidrs(capture.excluded_outbound_cidrs, family):  # 17
        yield _nat(OUTPUT, f"-d {cidr} -j RETURN")
    for port in capture.outbound_ports:
        yield _nat(OUTPUT, f"-p tcp --dport {port} -j {REDIRECT}")
    for cidr in capture.cidrs(capture.outbound_cidrs, family):
        only = "" if cidr == "*" else f"-d {cidr}"
        yield _nat(OUTPUT, f"{only} -j {REDIRECT}")


def _proxy_traffic(capture: Capture, loopback: str, kind: str, identity: str) -> Iterator[Rule]:
    owner = f"-m owner --{kind}-owner {identity}"
    if capture.dns and kind == "uid":
        ports = f"-m multiport ! --dports 53,{capture.tunnel_port}"
    else:
        ports = f"! --dport {capture.tunnel_port}"
    yield _nat(OUTPUT, f"-o lo ! -d {loopback} -p tcp {ports} {owner} -j {IN_REDIRECT}")  # 10
    if not capture.captures_loopback():  # 11
        but_dns = "-p tcp ! --dport 53 " if capture.dns else ""
        yield _nat(OUTPUT, f"-o lo {but_dns}-m owner ! --{kind}-owner {identity} -j RETURN")
    yield _nat(OUTPUT, f"{owner} -j RETURN")  # 12, 13


def _owner_groups(capture: Capture) -> Iterator[Rule]:
    if capture.owner_groups == ("*",):  # 14
        for group in capture.excluded_groups:
            yield _nat(OUTPUT, f"-m owner --gid-owner {group} -j RETURN")
        return
    none_of = " ".join(f"-m owner ! --gid-owner {group}" for group in capture.owner_groups)
    yield _nat(OUTPUT, f"{none_of} -j RETURN")


def _dns_zones(capture: Capture, family: Family) -> Iterator[Rule]:
    """The agent's queries and the program's are told apart though their ports may be equal."""
    destinations = capture.dns_destinations(family)
    if not destinations:
        return
    yield _raw("OUTPUT", f"-j {OUTPUT_DNS}")
    for kind, identity in _owners(capture):
        owner = f"-m owner --{kind}-owner {identity}"
        yield _raw(OUTPUT_DNS, f"-p udp --dport 53 {owner} -j CT --zone 1")
        yield _raw(OUTPUT_DNS, f"-p udp --sport {DNS_PORT} {owner} -j CT --zone 2")
    yield _raw("PREROUTING", f"-j {INBOUND}")
    for destination in destinations:
        yield _raw(OUTPUT_DNS, f"-p udp --dport 53 {' '.join(destination)} -j CT --zone 2")
        source = " ".join(destination).replace("-d ", "-s ")
        yield _raw(INBOUND, f"-p udp --sport 53 {source} -j CT --zone 1")

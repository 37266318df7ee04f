"""Rules of traffic capture, row by row (citadel-and-agent.md C1, C2, C5)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.agent.core.capture import Capture, Family, guard_rules, rules
from mast.agent.core.restore import ip_commands


def lines(capture: Capture, table: str, family: Family = 4) -> list[str]:
    """The rules of a table, as ``CHAIN words``."""
    return [
        " ".join([rule.chain, *rule.words])
        for rule in rules(capture, family)
        if rule.table == table
    ]


def nat(family: Family = 4, **parameters: Any) -> list[str]:
    return lines(Capture(**parameters), "nat", family)


OUT = "ISTIO_OUTPUT"
REDIRECTS = [
    "ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
    "ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
    "ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
]
PROXY = [
    f"{OUT} -o lo -s 127.0.0.6/32 -j RETURN",
    f"{OUT} -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008"
    " -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
    f"{OUT} -o lo -m owner ! --uid-owner 1337 -j RETURN",
    f"{OUT} -m owner --uid-owner 1337 -j RETURN",
    f"{OUT} -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008"
    " -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT",
    f"{OUT} -o lo -m owner ! --gid-owner 1337 -j RETURN",
    f"{OUT} -m owner --gid-owner 1337 -j RETURN",
]
LOOPBACK = f"{OUT} -d 127.0.0.1/32 -j RETURN"


def test_defaults_in_order() -> None:
    assert nat() == [
        *REDIRECTS,
        f"OUTPUT -j {OUT}",
        *PROXY,
        LOOPBACK,
        f"{OUT} -j ISTIO_REDIRECT",
    ]
    assert lines(Capture(), "mangle") == []
    assert lines(Capture(), "raw") == []


def test_a_pod_in_order() -> None:
    found = nat(
        inbound_ports=("*",),
        excluded_inbound_ports=("15090", "15021"),
        excluded_outbound_ports=("25",),
        outbound_cidrs=("10.0.0.0/8", "fd00::/8"),
        excluded_outbound_cidrs=("10.1.0.0/16",),
        outbound_ports=("3306",),
        excluded_interfaces=("eth9",),
    )
    assert found == [
        "PREROUTING -i eth9 -j RETURN",
        "OUTPUT -o eth9 -j RETURN",
        *REDIRECTS,
        "PREROUTING -p tcp -j ISTIO_INBOUND",
        "ISTIO_INBOUND -p tcp --dport 15090 -j RETURN",
        "ISTIO_INBOUND -p tcp --dport 15021 -j RETURN",
        "ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        f"OUTPUT -j {OUT}",
        f"{OUT} -p tcp --dport 25 -j RETURN",
        f"{OUT} -p udp --dport 25 -j RETURN",
        *PROXY,
        LOOPBACK,
        f"{OUT} -d 10.1.0.0/16 -j RETURN",
        f"{OUT} -p tcp --dport 3306 -j ISTIO_REDIRECT",
        f"{OUT} -d 10.0.0.0/8 -j ISTIO_REDIRECT",
    ]


def test_listed_inbound_ports_ignore_exclusions() -> None:
    found = nat(inbound_ports=("80", "443"), excluded_inbound_ports=("15021",))
    assert [each for each in found if each.startswith("ISTIO_INBOUND")][1:] == [
        "ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT",
        "ISTIO_INBOUND -p tcp --dport 443 -j ISTIO_IN_REDIRECT",
    ]


def test_ipv6_twin() -> None:
    found = nat(6, outbound_cidrs=("10.0.0.0/8", "fd00::/8"))
    assert f"{OUT} -o lo -s ::6/128 -j RETURN" in found
    assert f"{OUT} -d ::1/128 -j RETURN" in found
    assert found[-1] == f"{OUT} -d fd00::/8 -j ISTIO_REDIRECT"
    assert not any("127.0.0" in each or "10.0.0" in each for each in found)


def test_several_owners() -> None:
    found = nat(uids=("1337", "1338"), gids=("1339",))
    owners = [each.split("-owner ")[1].split()[0] for each in found if "-owner" in each]
    assert owners == ["1337"] * 3 + ["1338"] * 3 + ["1339"] * 3


def test_captured_loopback_leaves_rule_11_out() -> None:
    found = nat(outbound_cidrs=("127.0.0.0/8",))
    assert not any("! --uid-owner" in each or "! --gid-owner" in each for each in found)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, []),
        (
            {"excluded_groups": ("a", "b")},
            [f"{OUT} -m owner --gid-owner a -j RETURN", f"{OUT} -m owner --gid-owner b -j RETURN"],
        ),
        (
            {"owner_groups": ("a", "b"), "excluded_groups": ("c",)},
            [f"{OUT} -m owner ! --gid-owner a -m owner ! --gid-owner b -j RETURN"],
        ),
    ],
)
def test_owner_groups(parameters: dict[str, Any], expected: list[str]) -> None:
    found = nat(**parameters)
    after_proxy = found.index(PROXY[-1]) + 1
    assert found[after_proxy : found.index(LOOPBACK)] == expected


def test_kubevirt_is_first_and_at_positions() -> None:
    capture = Capture(kubevirt_interfaces=("net1", "net2"), outbound_cidrs=("10.0.0.0/8",))
    found = [(rule.position, " ".join(rule.words)) for rule in rules(capture, 4)][:4]
    assert found == [
        (1, "-i net1 -d 10.0.0.0/8 -j ISTIO_REDIRECT"),
        (2, "-i net2 -d 10.0.0.0/8 -j ISTIO_REDIRECT"),
        (3, "-i net1 -j RETURN"),
        (4, "-i net2 -j RETURN"),
    ]


def test_drop_invalid() -> None:
    assert lines(Capture(drop_invalid=True), "mangle") == [
        "PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP",
        "ISTIO_DROP -j DROP",
    ]


SERVERS = ("10.96.0.10", "fd00::53")


def test_dns_of_known_servers() -> None:
    capture = Capture(redirect_dns=True, dns_servers=SERVERS)
    found = lines(capture, "nat")
    multiport = "-p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337"
    assert f"{OUT} -o lo ! -d 127.0.0.1/32 {multiport} -j ISTIO_IN_REDIRECT" in found
    assert PROXY[4] in found, "rule 10 of a group has no form for DNS"
    assert f"{OUT} -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN" in found
    assert found[found.index(PROXY[-1]) + 1 : found.index(LOOPBACK)] == [
        f"{OUT} -j ISTIO_OUTPUT_DNS",
        "ISTIO_OUTPUT_DNS -p tcp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053",
        "ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053",
    ]
    assert lines(capture, "raw") == [
        "OUTPUT -j ISTIO_OUTPUT_DNS",
        "ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1",
        "ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2",
        "ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
        "ISTIO_OUTPUT_DNS -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
        "PREROUTING -j ISTIO_INBOUND",
        "ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j CT --zone 2",
        "ISTIO_INBOUND -p udp --sport 53 -s 10.96.0.10/32 -j CT --zone 1",
    ]
    assert any("-d fd00::53/128" in each for each in lines(capture, "nat", 6))


def test_all_dns() -> None:
    capture = Capture(redirect_dns=True, capture_all_dns=True, dns_servers=SERVERS)
    assert "ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053" in lines(
        capture, "nat", 6
    )
    assert "ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1" in lines(capture, "raw")


@pytest.mark.parametrize(
    "parameters",
    [
        {"redirect_dns": True},
        {"dns_servers": SERVERS},
        {"capture_all_dns": True},
        {"redirect_dns": True, "dns_servers": ("fd00::53",)},
    ],
    ids=["no-servers", "not-asked-for", "all-but-not-asked-for", "other-family"],
)
def test_no_dns(parameters: dict[str, Any]) -> None:
    capture = Capture(**parameters)
    assert not any("15053" in each for each in lines(capture, "nat"))
    assert lines(capture, "raw") == []


def test_tproxy_in_order() -> None:
    capture = Capture(
        mode="TPROXY",
        inbound_ports=("*",),
        excluded_inbound_ports=("15021",),
        excluded_interfaces=("eth9",),
    )
    assert lines(capture, "mangle") == [
        "PREROUTING -i eth9 -j RETURN",
        "OUTPUT -o eth9 -j RETURN",
        "ISTIO_DIVERT -j MARK --set-mark 1337",
        "ISTIO_DIVERT -j ACCEPT",
        "ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff"
        " --on-port 15006",
        "PREROUTING -p tcp -j ISTIO_INBOUND",
        "ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN",
        "ISTIO_INBOUND -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
        "ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
        "ISTIO_INBOUND -p tcp --dport 15021 -j RETURN",
        "ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
        "ISTIO_INBOUND -p tcp -j ISTIO_TPROXY",
        "PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
        "OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN",
        "OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338",
        "OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338",
        "OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark",
    ]
    assert not any("PREROUTING -p tcp" in each for each in lines(capture, "nat"))


def test_tproxy_of_listed_ports() -> None:
    found = lines(Capture(mode="TPROXY", inbound_ports=("80",)), "mangle")
    assert "ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_TPROXY" in found
    assert "ISTIO_INBOUND -p tcp -j ISTIO_TPROXY" not in found


@pytest.mark.parametrize(
    ("mode", "family", "commands"),
    [
        ("REDIRECT", 4, []),
        ("REDIRECT", 6, ["ip -6 addr add ::6/128 dev lo"]),
        (
            "TPROXY",
            4,
            [
                "ip -f inet rule add fwmark 1337 lookup 133",
                "ip -f inet route add local 0.0.0.0/0 dev lo table 133",
            ],
        ),
        (
            "TPROXY",
            6,
            [
                "ip -f inet6 rule add fwmark 1337 lookup 133",
                "ip -f inet6 route add local ::/0 dev lo table 133",
                "ip -6 addr add ::6/128 dev lo",
            ],
        ),
    ],
)
def test_ip_commands(mode: Any, family: Family, commands: list[str]) -> None:
    found = ip_commands(Capture(mode=mode), family, "add")
    assert [" ".join(each) for each in found] == commands


def test_guard_stops_everything_at_the_front() -> None:
    found = [(each.chain, " ".join(each.words), each.position) for each in guard_rules()]
    assert ("OUTPUT", "-j ISTIO_GUARD", 1) in found
    assert ("ISTIO_GUARD", "-p tcp -j DROP", 0) in found


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"mode": "NAT"}, "-m 'NAT'"),
        ({"outbound_cidrs": ("10.0.0.0/33",)}, "-i '10.0.0.0/33'"),
        ({"excluded_outbound_cidrs": ("*",)}, "-x '\\*'"),
        ({"inbound_ports": ("http",)}, "-b 'http': want a port"),
        ({"excluded_outbound_ports": ("0",)}, "-o '0': want a port"),
        ({"outbound_port": "70000"}, "-p '70000': want a port"),
    ],
)
def test_what_iptables_would_not_take(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Capture(**parameters)

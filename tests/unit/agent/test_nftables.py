"""Rules of traffic capture as native nftables has them (citadel-and-agent.md C6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mast.agent.core.capture import Capture, Family, Rule, rules
from mast.agent.core.nftables import (
    SCRATCH,
    Table,
    differences,
    listed,
    own,
    replacement,
    scratch,
    statements,
    tables,
)

EVERYTHING = Capture(
    mode="TPROXY",
    inbound_ports=("*",),
    excluded_inbound_ports=("15090",),
    excluded_outbound_ports=("22",),
    outbound_cidrs=("10.0.0.0/8", "fd00::/8"),
    kubevirt_interfaces=("net1",),
    excluded_interfaces=("eth9",),
    redirect_dns=True,
    dns_servers=("10.0.0.53", "fd00::53"),
    drop_invalid=True,
)


@pytest.mark.parametrize(
    ("words", "family", "wanted"),
    [
        ("-p tcp -j REDIRECT --to-ports 15001", 4, "meta l4proto tcp counter redirect to :15001"),
        ("-p tcp --dport 22 -j RETURN", 4, "tcp dport 22 counter return"),
        (
            "-p udp --sport 53 -s 10.0.0.53/32 -j CT --zone 1",
            4,
            "udp sport 53 ip saddr 10.0.0.53/32 counter ct zone set 1",
        ),
        ("-o lo -s ::6/128 -j RETURN", 6, 'oifname "lo" ip6 saddr ::6/128 counter return'),
        ("-i eth+ -j RETURN", 4, 'iifname "eth*" counter return'),
        (
            "! -d 127.0.0.1/32 -p tcp ! --dport 15008 -j DROP",
            4,
            "ip daddr != 127.0.0.1/32 tcp dport != 15008 counter drop",
        ),
        (
            "-p tcp -m multiport ! --dports 53,15008 -j ACCEPT",
            4,
            "tcp dport != { 53, 15008 } counter accept",
        ),
        ("-m owner ! --uid-owner 1337 -j RETURN", 4, "meta skuid != 1337 counter return"),
        (
            "-m owner --gid-owner 1-9 -j ISTIO_IN_REDIRECT",
            4,
            "meta skgid 1-9 counter jump istio-in-redirect",
        ),
        (
            "-p tcp -m mark ! --mark 1338 -j RETURN",
            4,
            "meta l4proto tcp meta mark != 1338 counter return",
        ),
        (
            "-p tcp -m connmark --mark 7 -j CONNMARK --restore-mark",
            4,
            "meta l4proto tcp ct mark 7 counter meta mark set ct mark",
        ),
        (
            "-p tcp -m mark --mark 7 -j CONNMARK --save-mark",
            4,
            "meta l4proto tcp meta mark 7 counter ct mark set meta mark",
        ),
        (
            "-m conntrack --ctstate RELATED,ESTABLISHED -j MARK --set-mark 7",
            4,
            "ct state related,established counter meta mark set 7",
        ),
        ("-j ISTIO_OUTPUT", 4, "counter jump istio-output"),
    ],
)
def test_one_rule(words: str, family: Family, wanted: str) -> None:
    (found,) = statements(Rule("nat", "OUTPUT", tuple(words.split())), family)
    assert found == wanted


def test_what_no_socket_waits_for_is_dropped_as_by_iptables() -> None:
    words = "! -d ::1/128 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006"
    match = "ip6 daddr != ::1/128 meta l4proto tcp counter"
    assert statements(Rule("mangle", "ISTIO_TPROXY", tuple(words.split())), 6) == (
        f"{match} tproxy ip6 to :15006 meta mark set 1337 accept",
        f"{match} drop",
    )


@pytest.mark.parametrize("words", ["-m comment --comment x -j RETURN", "-j LOG --log-prefix x"])
def test_words_that_no_rule_of_ours_has(words: str) -> None:
    with pytest.raises(ValueError, match="has no form in nftables"):
        statements(Rule("nat", "OUTPUT", tuple(words.split())), 4)


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_every_rule_is_there(families: tuple[Family, ...]) -> None:
    """Whatever iptables would hold, in its order; what both IP versions have stands once."""
    made = {table.name: table for table in tables(EVERYTHING, families)}
    assert list(made) == ["istio-proxy-nat", "istio-proxy-mangle", "istio-proxy-raw"]
    for family in families:
        for rule in rules(EVERYTHING, family):
            chain = made[f"istio-proxy-{rule.table}"].chains[rule.chain.lower().replace("_", "-")]
            for each in statements(rule, family):
                assert sum(line.endswith(each) for line in chain) >= 1, (rule, chain)


def test_base_chains() -> None:
    nat, mangle, raw = tables(EVERYTHING, (4, 6))
    assert nat.chains["prerouting"][0] == "type nat hook prerouting priority -100; policy accept;"
    assert nat.chains["output"][0] == "type nat hook output priority -100; policy accept;"
    assert mangle.chains["output"][0] == "type route hook output priority -150; policy accept;"
    assert raw.chains["output"][0] == "type filter hook output priority -300; policy accept;"
    assert nat.chains["prerouting"][1:3] == [
        'iifname "net1" ip daddr 10.0.0.0/8 counter jump istio-redirect',
        'iifname "net1" ip6 daddr fd00::/8 counter jump istio-redirect',
    ], "what iptables inserts stands in front"


def test_the_other_ip_version_passes() -> None:
    (nat,) = tables(Capture(), (4,))
    assert nat.chains["output"][1:] == ["meta nfproto ipv4 counter jump istio-output"]
    (nat,) = tables(Capture(), (6,))
    assert nat.chains["output"][1:] == ["meta nfproto ipv6 counter jump istio-output"]


def shown(capture: Capture) -> tuple[dict[str, Table], tuple[Table, ...], dict[str, Table]]:
    """Tables as a listing has them, as they are wanted, and the scratch ones as listed."""
    wanted = tables(capture, (4,))
    return (
        dict(listed("".join(table.text() for table in wanted))),
        wanted,
        dict(listed("".join(table.text() for table in scratch(wanted)))),
    )


def test_what_was_applied_is_equal() -> None:
    found, wanted, trial = shown(EVERYTHING)
    assert differences(found, wanted, trial) == ()
    assert all("hook" not in "".join(map(str, table.chains.values())) for table in trial.values())


def test_differences_are_named() -> None:
    found, wanted, trial = shown(Capture())
    name = "istio-proxy-nat"
    chains = dict(found[name].chains)

    def told(**changed: tuple[str, ...]) -> tuple[str, ...]:
        other = {**chains, **{key.replace("_", "-"): value for key, value in changed.items()}}
        return differences({name: replace(found[name], chains=other)}, wanted, trial)

    assert told(istio_redirect=()) == (
        "istio-proxy-nat istio-redirect lacks meta l4proto tcp counter redirect to :15001",
    )
    assert told(istio_new=("counter",)) == ("istio-proxy-nat: chain istio-new is not wanted",)
    hook, *output = chains["output"]
    other = hook.replace("-100", "0")
    assert told(output=(other, *output)) == (
        f"istio-proxy-nat output lacks {hook}",
        f"istio-proxy-nat output has {other}",
    )
    (order,) = told(istio_output=tuple(reversed(chains["istio-output"])))
    assert "in another order or number" in order
    assert differences({}, wanted, trial) == (f"{name} is missing",)
    extra = {**found, "istio-proxy-raw": Table("istio-proxy-raw", {})}
    assert differences(extra, wanted, trial) == ("istio-proxy-raw is not wanted",)


def test_one_transaction() -> None:
    """What is there goes, what is wanted comes; a table that is not there may be deleted too."""
    wanted = tables(Capture(), (4,))
    text = replacement(wanted, ["istio-proxy-raw"])
    assert text.startswith(
        "add table inet istio-proxy-nat\ndelete table inet istio-proxy-nat\n"
        "add table inet istio-proxy-raw\ndelete table inet istio-proxy-raw\n"
        "table inet istio-proxy-nat {\n"
    )
    assert replacement((), ["istio-proxy-raw"]).count("\n") == 2


def test_own_tables() -> None:
    mine = {"istio-proxy-nat", f"istio-proxy-raw{SCRATCH}"}
    assert own([*mine, "istio-proxy-other", "filter"]) == mine

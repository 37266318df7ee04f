"""Network namespaces of a laptop mesh: one bridge, one namespace and one veth pair a workload.

Needs root. Every name carries the mesh's tag, so that removal finds all of them even if the
records are lost.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mast.cli.errors import CommandError

SUBNETS = tuple(f"10.{second}.0.0/16" for second in range(213, 223))


@dataclass(frozen=True, slots=True)
class Names:
    """The names that belong to the mesh with this tag (interfaces: 15 bytes at most)."""

    tag: str

    @property
    def bridge(self) -> str:
        """The bridge all workloads hang on."""
        return f"mast{self.tag}"

    def namespace(self, workload: str) -> str:
        """The network namespace of a workload."""
        return f"mast-{self.tag}-{workload}"

    def link(self, number: int) -> str:
        """The root-side end of a workload's veth pair."""
        return f"mv{self.tag}-{number}"

    @property
    def prefixes(self) -> tuple[str, str]:
        """How names of namespaces and of links begin."""
        return f"mast-{self.tag}-", f"mv{self.tag}-"


async def ip(*arguments: str) -> str:
    """Run iproute2's ``ip`` and return what it prints; CommandError holds what it complained of."""
    try:
        process = await asyncio.create_subprocess_exec(
            "ip", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise CommandError(
            "the program 'ip' is missing",
            hint="install iproute2 and iptables (apt-get install iproute2 iptables), "
            "or use: mastctl up --mode loopback",
        ) from error
    out, err = await process.communicate()
    if process.returncode != 0:
        raise CommandError(f"ip {' '.join(arguments)}: {err.decode().strip()}")
    return out.decode()


async def create_bridge(names: Names) -> str:
    """Make the bridge on the first subnet nobody uses; return the subnet. Idempotent per tag."""
    await remove_all(names)
    subnet = free_subnet(await _addresses())
    gateway = next(ipaddress.ip_network(subnet).hosts())
    await ip("link", "add", names.bridge, "type", "bridge")
    await ip("addr", "add", f"{gateway}/16", "dev", names.bridge)
    await ip("link", "set", names.bridge, "up")
    return subnet


def free_subnet(taken: Sequence[str]) -> str:
    """The first of SUBNETS that overlaps no interface address in ``taken`` (CIDR texts)."""
    used = [ipaddress.ip_interface(text).network for text in taken]
    for subnet in SUBNETS:
        candidate = ipaddress.ip_network(subnet)
        if not any(network.version == 4 and candidate.overlaps(network) for network in used):
            return subnet
    raise CommandError(f"every subnet from {SUBNETS[0]} to {SUBNETS[-1]} is in use on this machine")


async def _addresses() -> list[str]:
    links: list[dict[str, Any]] = json.loads(await ip("-j", "addr", "show"))
    return [
        f"{address['local']}/{address['prefixlen']}"
        for link in links
        for address in link.get("addr_info", ())
        if "local" in address
    ]


async def create_namespace(
    names: Names, workload: str, number: int, address: str, gateway: str
) -> None:
    """Make a workload's namespace with ``eth0`` at ``address``/16 and a default route."""
    namespace, link = names.namespace(workload), names.link(number)
    await ip("netns", "add", namespace)
    await ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    await ip("link", "set", link, "master", names.bridge, "up")
    await ip("-n", namespace, "link", "set", "lo", "up")
    await ip("-n", namespace, "addr", "add", f"{address}/16", "dev", "eth0")
    await ip("-n", namespace, "link", "set", "eth0", "up")
    await ip("-n", namespace, "route", "add", "default", "via", gateway)


def write_resolver(namespace: str, nameserver: str, workload_namespace: str, domain: str) -> None:
    """Give a namespace the resolver settings of a pod (``ip netns exec`` mounts them)."""
    folder = Path("/etc/netns", namespace)
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("resolv.conf").write_text(
        f"nameserver {nameserver}\n"
        f"search {workload_namespace}.svc.{domain} svc.{domain} {domain}\n"
        "options ndots:5\n"
    )


async def remove_namespace(namespace: str, link: str) -> None:
    """Remove a workload's namespace, its veth pair and its resolver settings, if they exist."""
    if namespace in await namespaces():
        await ip("netns", "delete", namespace)
    await _delete_link(link)
    folder = Path("/etc/netns", namespace)
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


async def _delete_link(link: str) -> None:
    """Delete a link if it exists; the end of its namespace may delete it at the same moment."""
    if link not in await links():
        return
    try:
        await ip("link", "delete", link)
    except CommandError:
        if link in await links():
            raise


async def namespaces() -> list[str]:
    """Names of all network namespaces."""
    return [entry["name"] for entry in json.loads(await ip("-j", "netns", "list") or "[]")]


async def links() -> list[str]:
    """Names of all interfaces of the root namespace."""
    return [entry["ifname"] for entry in json.loads(await ip("-j", "link", "show"))]


async def remove_all(names: Names) -> None:
    """Remove whatever carries this mesh's tag: namespaces, links, resolver settings, the bridge."""
    for_namespaces, for_links = names.prefixes
    folder = Path("/etc/netns")
    leftovers = {path.name for path in folder.iterdir()} if folder.is_dir() else set[str]()
    for namespace in {*await namespaces(), *leftovers}:
        if namespace.startswith(for_namespaces):
            await remove_namespace(namespace, "")
    for link in await links():
        if link.startswith(for_links):
            await _delete_link(link)
    await _delete_link(names.bridge)

"""`mast-agent istio-iptables`: program traffic capture, once, before the program starts (C1, C4).

For init containers, `mastctl run` and VMs; needs CAP_NET_ADMIN and CAP_NET_RAW.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

import structlog

from mast.agent.config import log_level
from mast.agent.core import dns
from mast.agent.core.capture import Capture, Family
from mast.agent.core.comparison import Comparison, State
from mast.agent.core.restore import ip_commands
from mast.agent.store import capture_check, files, owners, policy_routes
from mast.agent.store.inputs import host_addresses
from mast.agent.store.netfilter import Netfilter, chosen_backend
from mast.agent.store.nftables import Nftables
from mast.agent.store.programs import Failed
from mast.common.process.settings import boolean, items
from mast.common.process.telemetry import configure_logging

log = structlog.get_logger()

INVALID = 126
"""Exit status if the check of captured connections fails: CNI's repair looks for it (C6)."""

_TEXT: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "outbound_port": (("-p", "--envoy-port"), "ENVOY_PORT", "15001"),
    "inbound_port": (("-z", "--inbound-capture-port"), "INBOUND_CAPTURE_PORT", "15006"),
    "tunnel_port": (("-e", "--inbound-tunnel-port"), "INBOUND_TUNNEL_PORT", "15008"),
    "mode": (
        ("-m", "--istio-inbound-interception-mode"),
        "ISTIO_INBOUND_INTERCEPTION_MODE",
        "REDIRECT",
    ),
    "mark": (("-t", "--istio-inbound-tproxy-mark"), "ISTIO_INBOUND_TPROXY_MARK", "1337"),
    "route_table": (
        ("-r", "--istio-inbound-tproxy-route-table"),
        "ISTIO_INBOUND_TPROXY_ROUTE_TABLE",
        "133",
    ),
    "loopback_cidr": (
        ("--istio-outbound-ipv4-loopback-cidr",),
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
        "127.0.0.1/32",
    ),
}
_LISTS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "uids": (("-u", "--proxy-uid"), "PROXY_UID", "1337"),
    "gids": (("-g", "--proxy-gid"), "PROXY_GID", "1337"),
    "inbound_ports": (("-b", "--istio-inbound-ports"), "ISTIO_INBOUND_PORTS", ""),
    "excluded_inbound_ports": (
        ("-d", "--istio-local-exclude-ports"),
        "ISTIO_LOCAL_EXCLUDE_PORTS",
        "",
    ),
    "outbound_cidrs": (("-i", "--istio-service-cidr"), "ISTIO_SERVICE_CIDR", ""),
    "excluded_outbound_cidrs": (
        ("-x", "--istio-service-exclude-cidr"),
        "ISTIO_SERVICE_EXCLUDE_CIDR",
        "",
    ),
    "outbound_ports": (("-q", "--istio-outbound-ports"), "ISTIO_OUTBOUND_PORTS", ""),
    "excluded_outbound_ports": (
        ("-o", "--istio-local-outbound-ports-exclude"),
        "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
        "",
    ),
    "kubevirt_interfaces": (("-k", "--kube-virt-interfaces"), "KUBE_VIRT_INTERFACES", ""),
    "excluded_interfaces": (
        ("-c", "--istio-exclude-interfaces"),
        "ISTIO_EXCLUDE_INTERFACES",
        "",
    ),
    "owner_groups": (("--owner-groups",), "ISTIO_OUTBOUND_OWNER_GROUPS", "*"),
    "excluded_groups": (
        ("--owner-groups-exclude",),
        "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
        "",
    ),
}
_SWITCHES: Mapping[str, tuple[str, str]] = {
    "redirect_dns": ("--redirect-dns", "ISTIO_META_DNS_CAPTURE"),
    "capture_all_dns": ("--capture-all-dns", "CAPTURE_ALL_DNS"),
    "drop_invalid": ("--drop-invalid", "INVALID_DROP"),
    "dual_stack": ("--dual-stack", "ISTIO_DUAL_STACK"),
    "dry_run": ("--dry-run", "DRY_RUN"),
    "cleanup_only": ("--cleanup-only", "CLEANUP_ONLY"),
    "reconcile": ("--reconcile", "RECONCILE"),
    "force_apply": ("--force-apply", "FORCE_APPLY"),
    "run_validation": ("--run-validation", "RUN_VALIDATION"),
    "skip_rule_apply": ("--skip-rule-apply", "SKIP_RULE_APPLY"),
    "native_nftables": ("--native-nftables", "NATIVE_NFTABLES"),
    "compare": ("--compare", "COMPARE"),
}
_LOGGING = frozenset({"log_output_level", "log_as_json"})
_ACTIONS = (frozenset(_SWITCHES) | _LOGGING) - {"redirect_dns", "capture_all_dns", "drop_invalid"}


class Rules(Protocol):
    """Rules for one capture, in whatever backend."""

    @property
    def facts(self) -> Mapping[str, object]: ...
    def plan(self) -> str: ...
    def compare(self) -> Comparison: ...
    def apply(self) -> None: ...
    def reconcile(self) -> None: ...
    def clean(self) -> None: ...


def istio_iptables(argv: Sequence[str]) -> int:
    """Apply, check or remove the rules; 0 if what was asked for holds afterwards."""
    flags = parse(argv, os.environ)
    form = "json" if flags["log_as_json"] else os.environ.get("MAST_LOG_FORMAT", "json")
    try:
        configure_logging("agent", log_level(flags["log_output_level"]), form)
        capture = capture_of(flags, files.text_if_there("/etc/resolv.conf"))
        wanted = families(flags)
        if flags["dry_run"]:
            sys.stdout.write(plan(backends(flags, capture), capture, wanted))
            return 0
        if flags["compare"]:
            return compare(backends(flags, capture))
        if not flags["skip_rule_apply"]:
            status = program(flags, capture)
            if status or flags["cleanup_only"]:
                return status
        return validate(capture, wanted) if flags["run_validation"] else 0
    except (ValueError, Failed) as error:
        log.error("capture.failed", error=str(error))
        return 1


def parse(argv: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """Flags win over variables, these over defaults (C1)."""
    parser = argparse.ArgumentParser(prog="mast-agent istio-iptables", description=__doc__)
    for name, (spellings, variable, default) in _TEXT.items():
        parser.add_argument(*spellings, dest=name, default=env.get(variable) or default)
    for name, (spellings, variable, default) in _LISTS.items():
        parser.add_argument(*spellings, dest=name, type=items, default=env.get(variable) or default)
    for name, (spelling, variable) in _SWITCHES.items():
        on = boolean(env.get(variable) or "false")
        parser.add_argument(
            spelling, dest=name, nargs="?", type=boolean, const=True, default=on, metavar="BOOL"
        )
    parser.add_argument("--log_output_level", default="info", help="level, or scopes with levels")
    parser.add_argument("--log_as_json", nargs="?", type=boolean, const=True, default=False)
    parser.add_argument("-n", dest="dry_run", action="store_true", help="the same as --dry-run")
    return vars(parser.parse_args(argv))


def capture_of(flags: Mapping[str, Any], resolv_conf: str) -> Capture:
    """The capture that flags describe. Raises ValueError for values iptables would not take."""
    wanted = {name: value for name, value in flags.items() if name not in _ACTIONS}
    wanted |= {
        "uids": owners.uids("-u", flags["uids"]),
        "gids": owners.gids("-g", flags["gids"]),
        "owner_groups": owners.gids("--owner-groups", flags["owner_groups"]),
        "excluded_groups": owners.gids("--owner-groups-exclude", flags["excluded_groups"]),
    }
    servers = dns.resolver(resolv_conf).servers if flags["redirect_dns"] else ()
    return Capture(**wanted, dns_servers=servers)


def families(flags: Mapping[str, Any]) -> tuple[Family, ...]:
    """IPv4, and IPv6 if it was asked for or the machine has a global address of it."""
    has_ipv6 = any(
        parsed.version == 6 and not parsed.is_loopback and not parsed.is_link_local
        for parsed in map(ip_address, host_addresses())
    )
    return (4, 6) if flags["dual_stack"] or has_ipv6 else (4,)


def backends(flags: Mapping[str, Any], capture: Capture) -> tuple[Rules, ...]:
    """Who holds the rules: nftables for all IP versions at once, iptables for each alone."""
    wanted = families(flags)
    if flags["native_nftables"]:
        return (Nftables(capture, wanted),)
    backend = chosen_backend(os.environ.get("FORCE_IPTABLES_BINARY", ""))
    return tuple(Netfilter(backend, capture, family) for family in wanted)


def plan(held: Sequence[Rules], capture: Capture, wanted: Sequence[Family]) -> str:
    """What would be done, as input of the backend's program and as ip commands."""
    commands = [each for family in wanted for each in ip_commands(capture, family, "add")]
    return "".join([*(each.plan() for each in held), *(f"{' '.join(c)}\n" for c in commands)])


def compare(held: Sequence[Rules]) -> int:
    """Only tell whether the kernel's rules are those that are wanted: 0 or 1."""
    for each in held:
        found = each.compare()
        if found.state is not State.EQUAL:
            log.error(
                "capture.different",
                differences=found.differences or ("there are no rules",),
                **each.facts,
            )
            return 1
    return 0


def program(flags: Mapping[str, Any], capture: Capture) -> int:
    """Bring the kernel's rules to what is wanted, or say why not."""
    for held in backends(flags, capture):
        if flags["cleanup_only"]:
            held.clean()
            log.info("capture.removed", **held.facts)
            continue
        found = held.compare()
        if found.state is State.NONE:
            held.apply()
            log.info("capture.applied", **held.facts)
        elif found.state is State.EQUAL and not flags["force_apply"]:
            log.info("capture.unchanged", **held.facts)
        elif flags["reconcile"] or flags["force_apply"]:
            log.warning("capture.reconciled", differences=found.differences, **held.facts)
            held.reconcile()
        else:
            log.error(
                "capture.different",
                differences=found.differences,
                hint="--reconcile replaces the rules, --cleanup-only removes them",
                **held.facts,
            )
            return 1
    change = policy_routes.remove if flags["cleanup_only"] else policy_routes.add
    change(capture, families(flags))
    return 0


def validate(capture: Capture, wanted: Sequence[Family]) -> int:
    """Check as the proxy's user that connections are captured; 126 if they are not."""
    if os.geteuid() != 0:
        return _check(capture, wanted)
    child = os.fork()
    if child == 0:
        os.setgroups(())
        for gid in capture.gids[:1]:
            os.setgid(int(gid))
        for uid in capture.uids[:1]:
            os.setuid(int(uid))
        os._exit(_check(capture, wanted))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _check(capture: Capture, wanted: Sequence[Family]) -> int:
    ports = (int(capture.outbound_port), int(capture.inbound_port))
    for family in wanted:
        problem = capture_check.check(ports, ipv6=family == 6)
        if problem:
            log.error("capture.invalid", family=family, problem=problem)
            return INVALID
    log.info("capture.valid")
    return 0

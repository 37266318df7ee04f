"""proxy-status and diff: what proxies were sent, what they said of it, what they have.

diff also compares configuration at two revisions, which history_commands knows."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.output import Format, note, show
from mast.cli.pilot_pages import page, pilot_address, text
from mast.cli.targets import AdminAddress, DumpFile, Name, Target, workload

Pilot = Annotated[str, typer.Option(envvar="MAST_PILOT", help="Pilot's HTTP address, host:port.")]
Server = Annotated[
    str, typer.Option(envvar="MAST_GALLEY", help="Galley's address; default: this machine's mesh.")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Format.")]

KINDS = {
    "CDS": "cluster",
    "LDS": "listener",
    "EDS": "endpoint",
    "RDS": "route",
    "ECDS": "extensionconfig",
}
COLUMNS = ("NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES")
VERBOSE_COLUMNS = ("NAME", "CLUSTER", *KINDS, "ISTIOD", "VERSION")

EXAMPLES = """\b
Examples:
  mastctl proxy-status
  mastctl proxy-status -v                    (how far each is with each type)
  mastctl proxy-status reviews-v1            (what differs from what Pilot means)
  mastctl diff --admin 127.0.0.1:15000 --proxy reviews-v1.default --pilot 127.0.0.1:8080
  mastctl diff --revision 120..125 virtualservice/reviews
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("proxy-status", epilog=EXAMPLES)(proxy_status)
    app.command("ps", hidden=True)(proxy_status)
    app.command("diff", epilog=EXAMPLES)(diff)


def proxy_status(
    name: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Only proxies of this namespace.")
    ] = "",
    pilot: Pilot = "",
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="A column for each type, with its state.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show every connected proxy, and which do not have the configuration meant for them.

    With a WORKLOAD: what its Envoy has otherwise than Pilot means it; exit status 1 if anything.
    """
    if name or admin or file:
        _diff(Target(name, namespace or "default", admin, file), "", pilot)
        return
    address = pilot_address(pilot)
    proxies = page(
        address, "/debug/syncz" + (f"?namespace={quote(namespace)}" if namespace else "")
    )
    rejected = page(address, "/debug/push_status").get("rejected", {})
    replica = page(address, "/version").get("id", address)
    data = [status_of(each, rejected.get(each["proxy"], {}), replica) for each in proxies]
    if verbose:
        show(data, output, VERBOSE_COLUMNS, [_states(each) for each in data])
    else:
        show(data, output, COLUMNS, [_subscriptions(each) for each in data])
    for each in data:
        for kind, state in each["types"].items():
            if reason := state.get("reason"):
                note(f"{each['proxy']} rejects {kind}: {reason}")
            elif state["state"] == "STALE":
                note(f"{each['proxy']} has not answered yet: {kind}")


def _states(proxy: Mapping[str, Any]) -> list[str]:
    states = (proxy["types"][kind]["state"] for kind in KINDS)
    return [
        *(proxy["proxy"], proxy["cluster"] or "-", *states),
        *(proxy["istiod"], proxy["version"] or "-"),
    ]


def _subscriptions(proxy: Mapping[str, Any]) -> list[str]:
    """As today's istioctl has it: how many types it is sent, and which."""
    sent = [kind for kind in KINDS if proxy["types"][kind]["state"] != "NOT SENT"]
    types = f"{len(sent)} ({','.join(sent)})" if sent else "0"
    return [
        *(proxy["proxy"], proxy["cluster"] or "-"),
        *(proxy["istiod"], proxy["version"] or "-", types),
    ]


def status_of(proxy: dict[str, Any], rejected: dict[str, str], replica: str) -> dict[str, Any]:
    """A proxy's row of /debug/syncz in our words; ``rejected`` has reasons by short type name."""
    types: dict[str, dict[str, str]] = {}
    for short, name in KINDS.items():
        sent, acked = proxy.get(f"{name}_sent", ""), proxy.get(f"{name}_acked", "")
        if reason := rejected.get(short.lower()):
            types[short] = {"state": "ERROR", "reason": reason}
        elif not sent:
            types[short] = {"state": "NOT SENT"}
        else:
            types[short] = {"state": "SYNCED" if sent == acked else "STALE"}
    return {
        "proxy": proxy["proxy"],
        "cluster": proxy.get("cluster_id", ""),
        "types": types,
        "istiod": replica,
        "version": proxy.get("istio_version", ""),
    }


def diff(
    name: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Annotated[
        str,
        typer.Option("-n", "--namespace", help="Of the workload; only objects of this namespace."),
    ] = "",
    proxy: Annotated[
        str, typer.Option(help="NAME.NAMESPACE as Pilot knows it; default: what the dump says.")
    ] = "",
    pilot: Pilot = "",
    revision: Annotated[
        str,
        typer.Option(
            help="A..B: compare configuration at two revisions (A..: with now); the argument is"
            " KIND or KIND/NAME then, or nothing."
        ),
    ] = "",
    server: Server = "",
) -> None:
    """Compare what Pilot means a proxy to have with what its Envoy has.

    Differences are shown as diff -u shows them: - is Pilot, + is Envoy. Exit status 1 if there are.
    With --revision: what became of configuration between two revisions that history tells.
    """
    if not revision:
        _diff(Target(name, namespace or "default", admin, file), proxy, pilot)
        return
    from mast.cli.history_commands import show_differences

    if admin or file or proxy:
        raise CommandError("--revision compares configuration, not what proxies have", status=2)
    show_differences(revision, name, namespace, server)


def _diff(target: Target, proxy: str, pilot: str) -> None:
    from mast.cli.inspect.difference import differences
    from mast.cli.inspect.dump import NotADump, read

    if target.name:
        # Its whole name, and an error if there is none of that name.
        found = workload(Home.default(), target.name, target.namespace)
        proxy = proxy or f"{found.name}.{found.namespace}"
    actual = target.dump(endpoints=True)
    parts = actual.node.id.split("~")
    proxy = proxy or (parts[2] if len(parts) == 4 else "")
    if not proxy:
        raise CommandError("which proxy is it? the dump has no node", hint="name it with --proxy")
    address = pilot_address(pilot)
    dump = text(address, f"/debug/config_dump?proxyID={quote(proxy)}&include_eds=true")
    try:
        intended = read(dump)
    except NotADump as error:
        raise CommandError(f"Pilot at {address}: {error}") from error
    different = differences(intended, actual)
    for kind, those in different.items():
        match = "Don't Match" if those else "Match"
        sys.stdout.write(f"{kind.capitalize()} {match}\n")
        for each in those:
            sys.stdout.write("".join(f"{line}\n" for line in each.lines))
    for what, reason in sorted(actual.rejected.items()):
        note(f"{what} is rejected: {reason}")
    if any(different.values()):
        raise typer.Exit(1)

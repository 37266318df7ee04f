"""proxy-config: what a running proxy has, in the columns that Istio's users know."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.cobra import SwitchCommand
from mast.cli.errors import CommandError
from mast.cli.output import dump, note
from mast.cli.output import plain as print_columns
from mast.cli.targets import AdminAddress, DumpFile, Name, Namespace, Target

if TYPE_CHECKING:
    from mast.cli.inspect.dump import Dump
    from mast.cli.inspect.tables import Table


class ShortFormat(StrEnum):
    """Columns, or everything."""

    SHORT = "short"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[ShortFormat, typer.Option("-o", "--output", help="Columns, or everything.")]
Port = Annotated[int, typer.Option(help="Only this port.", min=0, max=65535)]

EXAMPLES = """\b
Examples:
  mastctl proxy-config clusters reviews-v1 --fqdn ratings.default.svc.cluster.local
  mastctl pc routes reviews-v1 --name 9080 -o json
  mastctl pc listeners --admin 127.0.0.1:15000 --port 15006
  curl -s HOST:15000/config_dump | mastctl pc all --file -
"""

commands = typer.Typer(
    name="proxy-config", help="Show what a running proxy has.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for name, aliases, command in (
        ("clusters", ("cluster", "c"), clusters),
        ("listeners", ("listener", "l"), listeners),
        ("routes", ("route", "r"), routes),
        ("endpoints", ("endpoint", "ep"), endpoints),
        ("eds", (), eds),
        ("bootstrap", ("b",), bootstrap),
        ("secret", ("secrets", "s"), secret),
        ("rootca-compare", ("rc",), compare_roots),
        ("ecds", ("ec",), ecds),
        ("log", ("o",), log),
        ("all", ("a",), everything),
    ):
        _add(name, aliases, command)
    app.add_typer(commands, name="proxy-config", epilog=EXAMPLES)
    app.add_typer(commands, name="pc", hidden=True, epilog=EXAMPLES)


def _add(name: str, aliases: tuple[str, ...], command: Callable[..., None]) -> None:
    commands.command(name, cls=SwitchCommand, epilog=EXAMPLES)(command)
    for alias in aliases:
        commands.command(alias, cls=SwitchCommand, hidden=True)(command)


def clusters(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    fqdn: Annotated[str, typer.Option(help="Only clusters of this service.")] = "",
    port: Port = 0,
    subset: Annotated[str, typer.Option(help="Only this subset.")] = "",
    direction: Annotated[str, typer.Option(help="inbound or outbound.")] = "",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Clusters: services as the proxy calls them."""
    from mast.cli.inspect import clusters as inspect

    if direction and direction.lower() not in {"inbound", "outbound"}:
        raise CommandError(f"--direction {direction!r}: use inbound or outbound", status=2)
    found = Target(workload, namespace, admin, file).dump()
    _print(
        inspect.clusters(found, fqdn=fqdn, port=port, subset=subset, direction=direction), output
    )


def listeners(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    type_: Annotated[str, typer.Option("--type", help="HTTP, TCP or HTTP+TCP.")] = "",
    port: Port = 0,
    address: Annotated[str, typer.Option(help="Only listeners at this address.")] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose/--no-verbose", help="Each filter chain, not only its type.")
    ] = True,
    output: Output = ShortFormat.SHORT,
) -> None:
    """Listeners: where traffic arrives, and where each filter chain leads."""
    from mast.cli.inspect import listeners as inspect

    if type_ and type_.upper() not in inspect.KINDS:
        raise CommandError(f"--type {type_!r}: use one of {', '.join(inspect.KINDS)}", status=2)
    found = Target(workload, namespace, admin, file).dump()
    _print(
        inspect.listeners(found, kind=type_, port=port, address_=address, verbose=verbose), output
    )


def routes(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    name: Annotated[str, typer.Option(help="Only this route configuration.")] = "",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Routes: virtual hosts and what their routes match."""
    from mast.cli.inspect import listeners as inspect

    _print(inspect.routes(Target(workload, namespace, admin, file).dump(), name=name), output)


def endpoints(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    address: Annotated[str, typer.Option(help="Only this IP address.")] = "",
    port: Port = 0,
    cluster: Annotated[str, typer.Option(help="Only this cluster, by its whole name.")] = "",
    status: Annotated[str, typer.Option(help="healthy, unhealthy, draining, ...")] = "",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Endpoints: addresses behind clusters and what the proxy thinks of them."""
    from mast.cli.inspect import clusters as inspect

    found = Target(workload, namespace, admin, file).dump(hosts=True, endpoints=True)
    _print(
        inspect.endpoints(found, address=address, port=port, cluster=cluster, status=status), output
    )


def eds(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    cluster: Annotated[str, typer.Option(help="Only this cluster, by its whole name.")] = "",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Endpoints as Pilot told them, with their places."""
    from mast.cli.inspect import clusters as inspect

    found = Target(workload, namespace, admin, file).dump(endpoints=True)
    _print(inspect.assignments(found, cluster=cluster), output)


def bootstrap(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    output: Output = ShortFormat.JSON,
) -> None:
    """The configuration that the proxy was started with."""
    from mast.cli.envoy.plain import plain

    found = Target(workload, namespace, admin, file).dump().bootstrap
    if output is ShortFormat.SHORT:
        facts = [
            ["node", found.node.id],
            ["cluster", found.node.cluster],
            ["version", found.node.metadata.fields["ISTIO_VERSION"].string_value or "-"],
            ["static clusters", ", ".join(c.name for c in found.static_resources.clusters) or "-"],
            ["static listeners", str(len(found.static_resources.listeners))],
        ]
        print_columns(["FIELD", "VALUE"], facts)
        return
    sys.stdout.write(dump(plain(found), output))


def secret(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Secrets: certificates and roots the proxy holds; private keys are never shown."""
    from mast.cli.inspect.secrets import secrets

    _print(secrets(Target(workload, namespace, admin, file).dump(), _now()), output)


def compare_roots(
    workloads: Annotated[
        list[str] | None, typer.Argument(metavar="[WORKLOAD WORKLOAD]", help="Two workloads.")
    ] = None,
    admin: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="Envoy's admin port, instead.")
    ] = None,
    file: Annotated[list[Path] | None, typer.Option(help="A saved /config_dump, instead.")] = None,
    namespace: Namespace = "default",
) -> None:
    """Whether two proxies know others by the same roots; exit status 1 if not."""
    from mast.cli.inspect.secrets import roots

    targets = [
        *(Target(each, namespace) for each in workloads or ()),
        *(Target(admin=each) for each in admin or ()),
        *(Target(file=each) for each in file or ()),
    ]
    if len(targets) != 2:
        raise CommandError("name two proxies, by name, --admin or --file", status=2)
    first, second = (roots(each.dump()) for each in targets)
    names = " and ".join(each.name or each.admin or str(each.file) for each in targets)
    if not first or not second:
        raise CommandError(f"{names}: not both hold roots")
    if first == second:
        sys.stdout.write(f"{names} have identical roots\n")
    elif first & second:
        raise CommandError(f"{names} share {len(first & second)} root(s), but not all")
    else:
        raise CommandError(f"{names} have no root in common: they cannot call each other")


def ecds(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Extensions that the proxy was told by ECDS."""
    _print(_extensions(Target(workload, namespace, admin, file).dump()), output)


def everything(
    workload: Name = "",
    admin: AdminAddress = "",
    file: DumpFile = None,
    namespace: Namespace = "default",
    output: Output = ShortFormat.SHORT,
) -> None:
    """Clusters, listeners, routes, endpoints and secrets, one after the other."""
    from mast.cli.inspect import clusters as of_clusters
    from mast.cli.inspect import listeners as of_listeners
    from mast.cli.inspect.secrets import secrets

    target = Target(workload, namespace, admin, file)
    found = target.dump(hosts=True, endpoints=True)
    tables = {
        "clusters": of_clusters.clusters(found),
        "listeners": of_listeners.listeners(found),
        "routes": of_listeners.routes(found),
        "endpoints": of_clusters.endpoints(found),
        "secrets": secrets(found, _now()),
        "extensions": _extensions(found),
    }
    if output is not ShortFormat.SHORT:
        sys.stdout.write(dump({name: each.data for name, each in tables.items()}, output))
        return
    shown = [each for each in tables.values() if each.rows]
    for number, each in enumerate(shown):
        if number:
            sys.stdout.write("\n")
        _print(each, output)


def log(
    workload: Name = "",
    admin: AdminAddress = "",
    namespace: Namespace = "default",
    level: Annotated[
        str, typer.Option(help="LEVEL for all loggers, or LOGGER:LEVEL,LOGGER:LEVEL.")
    ] = "",
    reset: Annotated[bool, typer.Option("--reset", help="Back to warning.")] = False,
    output: Output = ShortFormat.SHORT,
) -> None:
    """Log levels of the proxy; --level changes them while it runs."""
    changes = level_changes("warning" if reset else level)
    port = Target(workload, namespace, admin).port()
    for query in changes:
        port.post(f"/logging?{query}")
    lines = port.post("/logging").splitlines()
    found = dict(re.findall(r"^\s+(\S+): (\w+)$", "\n".join(lines), re.MULTILINE))
    if output is ShortFormat.SHORT:
        print_columns(["LOGGER", "LEVEL"], [list(each) for each in sorted(found.items())])
    else:
        sys.stdout.write(dump(dict(sorted(found.items())), output))


LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")


def level_changes(text: str) -> list[str]:
    """Queries of Envoy's /logging; CommandError for a level that it does not have."""
    queries = []
    for each in filter(None, text.split(",")):
        logger, _, level = each.rpartition(":")
        if level not in LEVELS:
            raise CommandError(f"--level {each!r}: use one of {', '.join(LEVELS)}", status=2)
        if logger and not re.fullmatch(r"[a-z0-9_]+", logger):
            raise CommandError(f"--level {each!r}: {logger!r} is no name of a logger", status=2)
        queries.append(f"{logger or 'level'}={level}")
    return queries


def _extensions(found: Dump) -> Table:
    from mast.cli.inspect.tables import Table

    table = Table(["ECDS NAME", "TYPE"])
    for name, each in sorted(found.extensions.items()):
        table.add(each, (name, each.typed_config.TypeName()))
    return table


def _print(table: Table, output: ShortFormat) -> None:
    data: Any = table.data
    if output is not ShortFormat.SHORT:
        sys.stdout.write(dump(data, output))
    elif table.rows:
        print_columns(table.columns, table.rows)
    else:
        note("Nothing found.")


def _now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251 - the edge where time enters

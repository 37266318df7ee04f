"""authz: which policies guard a workload, and what they say about a request."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli import mesh_files
from mast.cli.errors import CommandError
from mast.cli.output import Format, dump, show
from mast.cli.output import plain as print_columns
from mast.cli.targets import AdminAddress, DumpFile, Name, Namespace, Target

if TYPE_CHECKING:
    from envoy.config.core.v3.base_pb2 import Node

    from mast.cli.envoy.configuration import Configuration
    from mast.cli.explain.site import Side, Surroundings
    from mast.cli.explain.story import Judged
    from mast.cli.explain.verdict import Call, Verdict
    from mast.cli.offline.mesh import Mesh

EXAMPLES = """\b
Examples:
  mastctl authz check reviews-v1                         (policies of a running proxy)
  mastctl authz check reviews-v1 --path /admin --source-principal cluster.local/ns/web/sa/web
  mastctl authz check reviews -f mesh/ --method DELETE --jwt-claims '{"iss": "us", "sub": "eve"}'
  mastctl authz check --file config_dump.json -o json
"""


@dataclass(frozen=True)
class Guarded:
    """The proxy that is asked about, and what is known of the mesh around it."""

    side: Side
    around: Surroundings

    @property
    def configuration(self) -> Configuration:
        """What it has, or what Pilot would send."""
        return self.side.configuration


# inbound|PORT|| (pilot.md C)
_INBOUND_CLUSTER = re.compile(r"inbound\|(\d+)\|\|")

commands = typer.Typer(
    name="authz", help="Access control: what guards a workload.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    commands.command("check", epilog=EXAMPLES)(check)
    # Alone, a command would be called by the name of its group.
    commands.callback()(lambda: None)
    app.add_typer(commands, name="authz", epilog=EXAMPLES)


def check(
    workload: Name = "",
    namespace: Namespace = "default",
    admin: AdminAddress = "",
    file: DumpFile = None,
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", help="Files of a mesh: what Pilot would send, instead."),
    ] = None,
    mesh_config: mesh_files.MeshConfig = None,
    ignore_unknown: mesh_files.IgnoreUnknown = False,
    validate: mesh_files.Validate = True,
    port: Annotated[int, typer.Option(help="Port of the workload.", min=0, max=65535)] = 0,
    method: Annotated[str, typer.Option(help="Method of a request; default: GET.")] = "",
    path: Annotated[str, typer.Option(help="Its path and query; default: /.")] = "",
    host: Annotated[str, typer.Option(help="Host of the request.")] = "",
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="'NAME: VALUE'; repeatable.")
    ] = None,
    source_principal: Annotated[
        str, typer.Option(help="Who calls with mutual TLS: TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT.")
    ] = "",
    source_ip: Annotated[str, typer.Option(help="Address of the caller.")] = "",
    sni: Annotated[str, typer.Option(help="Server name of the caller's TLS.")] = "",
    jwt_claims: Annotated[str, typer.Option(help="Claims of a valid token, as JSON.")] = "",
    tcp: Annotated[bool, typer.Option("--tcp", help="A connection without a request.")] = False,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Format of the result.")
    ] = Format.TABLE,
) -> None:
    """List the policies that guard a workload; of a request, tell what they say and which decides.

    With any option of a request the exit status is 1 if it is refused.
    """
    target = Target(workload, namespace, admin, file)
    files = _files(filename, namespace, mesh_config, ignore_unknown, validate)
    asked = (port, method, path, host, header, source_principal, source_ip, sni, jwt_claims, tcp)
    if not any(asked):
        from mast.cli.inspect.access import policies

        table = policies(_configuration(target, files))
        show(table.data, output, table.columns, table.rows)
        return
    from mast.cli.explain.verdict import SOMEBODY, Call

    found = _guarded(target, files)
    call = Call(
        port=port or _only_port(found.configuration),
        http=not tcp,
        host=host,
        path=path or "/",
        method=method or "GET",
        headers=[mesh_files.header(each) for each in header or ()],
        claims=mesh_files.json_object(jwt_claims, "--jwt-claims") if jwt_claims else None,
        principal=source_principal,
        source_address=mesh_files.address(source_ip, "--source-ip") if source_ip else SOMEBODY,
        server_name=sni,
    )
    said = _verdict(call, found)
    _show(said, output)
    raise typer.Exit(0 if said.allowed else 1)


def _files(
    filename: list[Path] | None,
    namespace: str,
    mesh_config: Path | None,
    ignore_unknown: bool,
    validate: bool,
) -> Mesh | None:
    if not filename:
        return None
    return mesh_files.load(
        filename, namespace, mesh_config, ignore_unknown=ignore_unknown, validate=validate
    )


def _node(target: Target, files: Mesh) -> Node:
    """The workload that is asked about, in files."""
    if target.admin or target.file or not target.name:
        raise CommandError("with -f name a workload in the files", status=2)
    return mesh_files.chosen_node(files, target.name, "", target.namespace)


def _configuration(target: Target, files: Mesh | None) -> Configuration:
    """What the proxy has or, from files, what it would get."""
    if files is not None:
        return files.configuration(_node(target, files))
    return target.dump(endpoints=True).configuration


def _guarded(target: Target, files: Mesh | None) -> Guarded:
    from mast.cli.explain.site import Surroundings
    from mast.pilot.core.model.proxy import InvalidNode

    if files is not None:
        around = Surroundings(files)
        return Guarded(around.side(_node(target, files)), around)
    has = _configuration(target, None)
    around = Surroundings(_mesh_around(target))
    try:
        return Guarded(around.side(has.node, has), around)
    except InvalidNode as error:
        raise CommandError(f"this is no proxy of the mesh: {error}") from error


def _mesh_around(target: Target) -> Mesh:
    """The mesh of this machine if the proxy is one of it; of others nothing is known."""
    if target.name:
        from mast.cli.live_mesh import live_mesh

        return live_mesh()
    from mast.cli.offline.mesh import mesh_of
    from mast.cli.offline.reading import FileMesh

    return mesh_of(FileMesh())[0]


def _only_port(configuration: Configuration) -> int:
    """The port that a workload serves, if it is only one."""
    inbound = map(_INBOUND_CLUSTER.fullmatch, configuration.clusters)
    found = sorted(int(each[1]) for each in inbound if each)
    if len(found) == 1:
        return found[0]
    known = ", ".join(map(str, found)) or "none that the proxy knows"
    raise CommandError(f"which --port? The workload serves {known}", status=2)


def _verdict(call: Call, found: Guarded) -> Verdict:
    from mast.cli.explain.verdict import verdict
    from mast.common.envoy.matchers import NotUnderstood

    try:
        return verdict(call, found.side, found.around)
    except NotUnderstood as error:
        raise CommandError(
            f"the proxy's configuration uses {error}: its outcome cannot be told",
            hint="see the configuration with: mastctl proxy-config listeners -o json",
        ) from error


def _show(said: Verdict, output: Format) -> None:
    if output is not Format.TABLE:
        sys.stdout.write(dump(_data(said), output))
        return
    lines = [_conclusion(said)]
    if said.decided and said.decided.cause:
        lines.append(f"<- {said.decided.cause}")
    elif not said.allowed:
        lines += [f"<- {each}" for each in said.last.causes]
    sys.stdout.write("\n".join(lines) + "\n")
    if said.story.access:
        sys.stdout.write("\n")
        print_columns(("ACTION", "RULE", "RESULT"), [_row(each) for each in said.story.access])


def _conclusion(said: Verdict) -> str:
    if not said.allowed:
        return f"{said.last.what}: {said.last.result}"
    if said.story.authorizers:
        return f"allowed, unless {' or '.join(said.story.authorizers)} refuses"
    enforced = any(each.enforced for each in said.story.access)
    return "allowed" if enforced else "allowed: no policy guards it"


def _row(rule: Judged) -> list[str]:
    from mast.cli.envoy.access_rules import shown

    return [rule.action, shown(rule.rule), rule.lacking or "matches"]


def _data(said: Verdict) -> dict[str, Any]:
    """The verdict, the rule that decided, every rule that was tried, who is asked, all steps."""
    return {
        "allowed": said.allowed,
        "status": said.story.status,
        "decided": _rule(said.decided) if said.decided else None,
        "rules": [_rule(each) for each in said.story.access],
        "authorizers": said.story.authorizers,
        "steps": said.story.data()["steps"],
    }


def _rule(rule: Judged) -> dict[str, Any]:
    cause = {key: value for key, value in vars(rule.cause).items() if value} if rule.cause else None
    return {
        "action": rule.action,
        "rule": rule.rule,
        "matches": not rule.lacking,
        "lacking": rule.lacking,
        "enforced": rule.enforced,
        "cause": cause,
    }

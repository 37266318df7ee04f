"""explain: what becomes of a request, step by step, and which configuration is behind it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from mast.cli import mesh_files
from mast.cli.errors import CommandError
from mast.cli.output import Format as OutputFormat
from mast.cli.output import dump
from mast.cli.targets import AdminAddress, DumpFile, Target

if TYPE_CHECKING:
    from envoy.config.core.v3.base_pb2 import Node

    from mast.cli.explain.outbound import Asked
    from mast.cli.explain.story import Story
    from mast.cli.offline.mesh import Mesh

EXAMPLES = """\b
Examples:
  mastctl explain -f mesh/ --from productpage --to http://reviews:9080/1 -H 'end-user: jason'
  mastctl explain --from productpage-v1 --to reviews:9080            (the mesh of this machine)
  mastctl explain -f mesh/ --from web --to tcp://db:5432 -o json
"""

SCHEMES = {"http": 80, "https": 443, "tls": 443, "tcp": 0}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(explain)


def explain(
    to: Annotated[str, typer.Option(help="HOST[:PORT], or a URL of http, https, tls or tcp.")],
    source: Annotated[
        str, typer.Option("--from", help="Workload whose program asks, NAME[.NAMESPACE].")
    ] = "",
    node: Annotated[str, typer.Option(help="The same by node ID; router~... for a gateway.")] = "",
    filename: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", help="Files of a mesh; default: this machine's mesh."),
    ] = None,
    admin: AdminAddress = "",
    file: DumpFile = None,
    method: Annotated[str, typer.Option(help="Method of the request.")] = "GET",
    path: Annotated[str, typer.Option(help="Path and query, if --to is no URL.")] = "",
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="'NAME: VALUE'; repeatable.")
    ] = None,
    http2: Annotated[bool, typer.Option("--http2", help="The program speaks HTTP/2.")] = False,
    sni: Annotated[str, typer.Option(help="Server name of the program's own TLS.")] = "",
    alpn: Annotated[str, typer.Option(help="Protocols of the program's own TLS, a,b.")] = "",
    address: Annotated[str, typer.Option(help="What the name resolves to.")] = "",
    source_ip: Annotated[str, typer.Option(help="Who dials, if not the workload.")] = "",
    jwt_claims: Annotated[str, typer.Option(help="Claims of a valid token, as JSON.")] = "",
    metadata: mesh_files.Metadata = "",
    mesh_config: mesh_files.MeshConfig = None,
    namespace: mesh_files.Namespace = "default",
    ignore_unknown: mesh_files.IgnoreUnknown = False,
    validate: mesh_files.Validate = True,
    output: Annotated[
        OutputFormat, typer.Option("-o", "--output", help="Format of the result.")
    ] = OutputFormat.TABLE,
) -> None:
    """Tell step by step what becomes of a request, and which object is to blame.

    What is told are decisions of Envoy on the configuration that Pilot makes: listener, filter
    chain, route, cluster, endpoints, and the same in the proxy of the destination. With --admin or
    --file it is what the asking proxy really has.
    """
    if bool(source) == bool(node):
        raise CommandError("who asks? give --from WORKLOAD or --node ID", status=2)
    asked = question(
        to,
        path=path,
        method=method,
        headers=[mesh_files.header(each) for each in header or ()],
        http2=http2,
        sni=sni,
        alpns=tuple(filter(None, alpn.split(","))),
        address=address,
        source_address=source_ip,
        claims=_claims(jwt_claims),
    )
    mesh = _mesh(filename, namespace, mesh_config, ignore_unknown, validate)
    chosen = mesh_files.chosen_node(mesh, source or node, metadata, namespace)
    story = _story(asked, mesh, chosen, Target(admin=admin, file=file) if admin or file else None)
    if output is OutputFormat.TABLE:
        sys.stdout.write(story.text())
    else:
        sys.stdout.write(dump(story.data(), output))


def _story(asked: Asked, mesh: Mesh, node: Node, live: Target | None) -> Story:
    """What becomes of it at a proxy; a live one has what it has, others what Pilot makes."""
    from mast.cli.explain.outbound import explain as explained
    from mast.cli.explain.site import Surroundings
    from mast.common.envoy.matchers import NotUnderstood

    around = Surroundings(mesh)
    has = live.dump(endpoints=True).configuration if live else None
    try:
        return explained(asked, around.side(node, has), around)
    except NotUnderstood as error:
        raise CommandError(
            f"the proxy's configuration uses {error}: its outcome cannot be told",
            hint="see the configuration with: mastctl render",
        ) from error


def _mesh(
    files: list[Path] | None,
    namespace: str,
    mesh_config: Path | None,
    ignore_unknown: bool,
    validate: bool,
) -> Mesh:
    if files:
        return mesh_files.load(
            files, namespace, mesh_config, ignore_unknown=ignore_unknown, validate=validate
        )
    from mast.cli.live_mesh import live_mesh

    return live_mesh()


def question(to: str, *, path: str, **more: Any) -> Asked:
    """What is asked, from a URL or ``HOST[:PORT]``; CommandError says what is allowed."""
    from mast.cli.explain.outbound import Asked

    parts = urlsplit(to if "://" in to else f"http://{to}")
    if parts.scheme not in SCHEMES or not parts.hostname:
        allowed = ", ".join(SCHEMES)
        raise CommandError(f"--to {to!r}: write HOST[:PORT] or a URL of {allowed}", status=2)
    try:
        port = parts.port or SCHEMES[parts.scheme]
    except ValueError as error:
        raise CommandError(f"--to {to!r}: {error}", status=2) from error
    if not port:
        raise CommandError(f"--to {to!r}: which port?", status=2)
    own = parts.path + (f"?{parts.query}" if parts.query else "")
    return Asked(
        host=parts.hostname,
        port=port,
        scheme=parts.scheme,
        path=path or own or "/",
        **more,
    )


def _claims(text: str) -> dict[str, Any] | None:
    """The claims of a token, None if there is no token."""
    return mesh_files.json_object(text, "--jwt-claims") if text else None

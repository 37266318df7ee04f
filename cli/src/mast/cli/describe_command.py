"""describe: what applies to a workload or a service, and which objects say so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli import mesh_files
from mast.cli.errors import CommandError
from mast.cli.output import Format, dump

if TYPE_CHECKING:
    from mast.cli.explain.description import Part
    from mast.cli.offline.mesh import Mesh
    from mast.pilot.core.model.model import Service

_LINE = "-" * 20

EXAMPLES = """\b
Examples:
  mastctl describe pod reviews-v1
  mastctl x describe service reviews.default
  mastctl describe service reviews -f mesh/ -o json
"""

Named = Annotated[str, typer.Argument(metavar="NAME[.NAMESPACE]")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")]
Filename = Annotated[
    list[Path] | None,
    typer.Option("-f", "--filename", help="Files of a mesh; default: this machine's mesh."),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command(name="pod", epilog=EXAMPLES)(pod)
    group.command(name="po", hidden=True)(pod)
    group.command(name="service", epilog=EXAMPLES)(service)
    group.command(name="svc", hidden=True)(service)
    app.add_typer(group, name="describe", help="What applies to a workload or a service.")


def pod(
    name: Named,
    namespace: Namespace = "default",
    filename: Filename = None,
    mesh_config: mesh_files.MeshConfig = None,
    ignore_unknown: mesh_files.IgnoreUnknown = False,
    validate: mesh_files.Validate = True,
    output: Output = Format.TABLE,
) -> None:
    """Tell of a workload: the services it serves, their rules, mutual TLS, and its policies."""
    from mast.cli.explain.description import of_workload
    from mast.cli.explain.site import Surroundings

    mesh = _mesh(filename, namespace, mesh_config, ignore_unknown, validate)
    named, _, place = name.partition(".")
    node = mesh_files.chosen_node(mesh, named, "", place or namespace)
    around = Surroundings(mesh)
    _show(of_workload(around.side(node), around), output)


def service(
    name: Named,
    namespace: Namespace = "default",
    filename: Filename = None,
    mesh_config: mesh_files.MeshConfig = None,
    ignore_unknown: mesh_files.IgnoreUnknown = False,
    validate: mesh_files.Validate = True,
    output: Output = Format.TABLE,
) -> None:
    """Tell of a service: ports, endpoints, rules of traffic, and the gateways it is exposed by."""
    from mast.cli.explain.description import of_service
    from mast.cli.explain.site import Surroundings

    mesh = _mesh(filename, namespace, mesh_config, ignore_unknown, validate)
    _show(of_service(_service(mesh, name, namespace), Surroundings(mesh)), output)


def _mesh(
    filename: list[Path] | None,
    namespace: str,
    mesh_config: Path | None,
    ignore_unknown: bool,
    validate: bool,
) -> Mesh:
    if filename:
        return mesh_files.load(
            filename, namespace, mesh_config, ignore_unknown=ignore_unknown, validate=validate
        )
    from mast.cli.live_mesh import live_mesh

    return live_mesh()


def _service(mesh: Mesh, name: str, namespace: str) -> Service:
    """A service by its host, or NAME[.NAMESPACE]."""
    known = {each.host: each for each in mesh.snapshot.scope(namespace).services()}
    short, _, place = name.partition(".")
    full = f"{short}.{place or namespace}.svc."
    found = known.get(name) or next((s for host, s in known.items() if host.startswith(full)), None)
    if found is None:
        hosts = ", ".join(sorted(known)) or "none"
        raise CommandError(f"no service {name!r} in namespace {namespace!r}; there are: {hosts}")
    return found


def _show(groups: list[list[Part]], output: Format) -> None:
    if output is not Format.TABLE:
        data = [[each.data() for each in group] for group in groups]
        sys.stdout.write(dump(data, output))
        return
    sys.stdout.write(f"{_LINE}\n".join("".join(map(_text, group)) for group in groups))


def _text(part: Part) -> str:
    where = f" ({part.cause.where})" if part.cause and part.cause.where else ""
    lines = [f"{part.title}{where}", *(f"   {each}" for each in part.lines)]
    lines += [f"   WARNING: {each}" for each in part.warnings]
    return "".join(f"{line}\n" for line in lines)

"""render: what proxies would get from a mesh in files."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli import mesh_files
from mast.cli.errors import CommandError
from mast.cli.output import dump, note

if TYPE_CHECKING:
    from envoy.config.core.v3.base_pb2 import Node

    from mast.cli.offline.mesh import Mesh

EXAMPLES = """\b
Examples:
  mastctl render -f mesh/ --node 'sidecar~10.0.0.5~web-1.default~default.svc.cluster.local'
  mastctl render -f mesh/ --node web-1 -o bootstrap > e.json; envoy --mode validate -c e.json
  kustomize build . | mastctl render -f - --all -o json
"""


class RenderFormat(StrEnum):
    """What is printed: resources, or a whole Envoy configuration."""

    JSON = "json"
    YAML = "yaml"
    BOOTSTRAP = "bootstrap"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(render)


def render(
    filename: mesh_files.Files,
    node: Annotated[
        str, typer.Option(help="Proxy: TYPE~IP~NAME.NAMESPACE~DOMAIN, or a workload's name.")
    ] = "",
    all_proxies: Annotated[
        bool, typer.Option("--all", help="Every workload in the files, by node ID.")
    ] = False,
    metadata: mesh_files.Metadata = "",
    mesh_config: mesh_files.MeshConfig = None,
    namespace: mesh_files.Namespace = "default",
    ignore_unknown: mesh_files.IgnoreUnknown = False,
    validate: mesh_files.Validate = True,
    output: Annotated[
        RenderFormat, typer.Option("-o", "--output", help="Format of the result.")
    ] = RenderFormat.YAML,
) -> None:
    """Print the listeners, routes, clusters, endpoints and secrets that a proxy would get.

    No server is needed: files are judged as Galley does and turned into resources as Pilot does.
    """
    if bool(node) == all_proxies:
        raise CommandError("name one proxy with --node, or take --all", status=2)
    if all_proxies and output is RenderFormat.BOOTSTRAP:
        raise CommandError("a bootstrap is for one proxy: name it with --node", status=2)
    mesh = mesh_files.load(
        filename, namespace, mesh_config, ignore_unknown=ignore_unknown, validate=validate
    )
    if all_proxies:
        if not mesh.nodes:
            raise CommandError(
                "the files hold no workload", hint="name a proxy with --node TYPE~IP~NAME.NS~DOMAIN"
            )
        data: Any = {each.id: resources(mesh, each) for each in mesh.nodes}
    else:
        chosen = mesh_files.chosen_node(mesh, node, metadata, namespace)
        data = static(mesh, chosen) if output is RenderFormat.BOOTSTRAP else resources(mesh, chosen)
    sys.stdout.write(dump(data, "yaml" if output is RenderFormat.YAML else "json"))


def resources(mesh: Mesh, node: Node) -> dict[str, list[dict[str, Any]]]:
    """What a proxy ends up with: five lists of resources as proto3 JSON, sorted by name."""
    from mast.cli.envoy.plain import plain

    found = mesh.configuration(node)
    kinds = {
        "listeners": found.listeners,
        "routes": found.routes,
        "clusters": found.clusters,
        "endpoints": found.endpoints,
    }
    made = {kind: [plain(each) for each in those.values()] for kind, those in kinds.items()}
    secrets = (mesh.secret(node, each) for each in found.secret_names)
    return {**made, "secrets": [plain(each) for each in secrets]}


def static(mesh: Mesh, node: Node) -> dict[str, Any]:
    """The same as a configuration that Envoy reads with ``-c``."""
    from mast.cli.envoy.plain import plain
    from mast.cli.envoy.static import bootstrap, left_out

    found = mesh.configuration(node)
    for name in left_out(found):
        note(f"left out: {name}, whose module the agent of the proxy provides")
    return plain(bootstrap(found), proto_names=True)

"""Options of commands that read a mesh from files, and what their mistakes look like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.config_commands import NoFilesError, problem_line, sources
from mast.cli.errors import CommandError
from mast.cli.output import note

if TYPE_CHECKING:
    from envoy.config.core.v3.base_pb2 import Node

    from mast.cli.offline.mesh import Mesh
    from mastapi.galley.v1 import config_pb2

Files = Annotated[
    list[Path],
    typer.Option("-f", "--filename", help="File, directory, or - for standard input; repeatable."),
]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace if none is given.")]
Metadata = Annotated[
    str, typer.Option(help='Node metadata as JSON, e.g. \'{"LABELS": {"app": "web"}}\'.')
]
MeshConfig = Annotated[
    Path | None, typer.Option(help="Mesh settings as Istio has them (meshConfig), instead of any.")
]
IgnoreUnknown = Annotated[
    bool, typer.Option("--ignore-unknown", help="Skip documents of unknown kinds.")
]
Validate = Annotated[
    bool, typer.Option("--validate/--no-validate", help="Apply the rules objects are stored by.")
]


def load(
    files: Sequence[Path],
    namespace: str,
    mesh_config: Path | None = None,
    *,
    ignore_unknown: bool = False,
    validate: bool = True,
) -> Mesh:
    """The mesh in files; CommandError holds every mistake with its file and line.

    A directory without files is a mesh without configuration; that is told.
    """
    from mast.cli.offline.mesh import mesh_of
    from mast.cli.offline.reading import Options, read
    from mast.galley.api.problems import problem

    settings = sources([mesh_config])[0] if mesh_config else None
    found = read(_sources(files), Options(namespace, ignore_unknown, validate), settings)
    lines = [problem_line(problem(each)) for each in found.problems]
    if found.errors:
        unknown = any(each.rule == "unknown-kind" for each in found.errors)
        raise CommandError(
            "invalid configuration, nothing was rendered\n" + "\n".join(lines),
            hint="skip documents of unknown kinds with --ignore-unknown" if unknown else "",
        )
    for line in lines:
        note(line)
    mesh, rejections = mesh_of(found)
    if rejections:
        told = "\n".join(f"{each.key}: {each.reason}" for each in rejections)
        raise CommandError(f"Pilot would keep objects out, nothing was rendered\n{told}")
    return mesh


def _sources(files: Sequence[Path]) -> list[config_pb2.Source]:
    found: list[config_pb2.Source] = []
    for each in files:
        try:
            found += sources([each])
        except NoFilesError as nothing:
            note(f"warning: {nothing}")
    return found


def chosen_node(mesh: Mesh, wanted: str, metadata: str, namespace: str) -> Node:
    """The proxy of a node ID, or of a workload in the files by its name."""
    from mast.cli.offline.proxies import named, node
    from mast.pilot.core.model.proxy import InvalidNode, parse

    extra = json_object(metadata, "--metadata")
    if "~" in wanted:
        made = node(_utf8(wanted, "--node"), extra)
    else:
        found = named(mesh.nodes, wanted, namespace)
        if len(found) != 1:
            names = ", ".join(each.id.split("~")[2] for each in found or mesh.nodes) or "none"
            what = "is not clear" if found else "is in none of the files"
            raise CommandError(f"workload {wanted!r} {what}; there are: {names}", status=2)
        made = found[0]
        made.metadata.update(extra)
    try:
        parse(made)
    except InvalidNode as error:
        raise CommandError(str(error), status=2) from error
    return made


def header(text: str) -> tuple[str, str]:
    """Name, in lower case, and value of ``NAME: VALUE``."""
    name, colon, value = text.partition(":")
    if not (colon and name.strip()):
        raise CommandError(f"--header {text!r}: write 'NAME: VALUE'", status=2)
    return name.strip().lower(), value.strip()


def address(text: str, option: str) -> str:
    """The IP address of an option."""
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise CommandError(f"{option}: {text!r} is no IP address", status=2) from error


def json_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object of an option, empty if there is no text; numbers are floats, as in Envoy."""
    try:
        found = json.loads(_utf8(text, option), parse_int=float) if text else {}
        _utf8(json.dumps(found, allow_nan=False, ensure_ascii=False), option)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{option}: not JSON: {error}", status=2) from error
    if not isinstance(found, dict):
        raise CommandError(f"{option}: {text!r} is not a JSON object", status=2)
    return found


def _utf8(text: str, option: str) -> str:
    """The text, unless it has characters that no message can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CommandError(f"{option}: not UTF-8: {error}", status=2) from error
    return text

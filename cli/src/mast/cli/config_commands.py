"""apply, delete, get: configuration through Galley."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import grpc.aio
import typer
from google.protobuf import json_format
from grpc_status import rpc_status

from mast.cli.connect import galley
from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.output import Format, note, show
from mast.common import kinds
from mastapi.galley.v1 import config_pb2

SUFFIXES = {".yaml", ".yml", ".json"}
CALL_SECONDS = 30

Files = Annotated[
    list[Path], typer.Option("-f", "--filename", help="File, directory, or - for standard input.")
]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of objects.")]
Server = Annotated[
    str, typer.Option(envvar="MAST_GALLEY", help="Galley's address; default: this machine's mesh.")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(apply)
    app.command()(delete)
    app.command()(get)


def apply(
    filename: Files,
    namespace: Namespace = "default",
    dry_run: Annotated[bool, typer.Option(help="Judge and compare, store nothing.")] = False,
    server: Server = "",
    output: Output = Format.TABLE,
) -> None:
    """Create or update objects: all of them, or none if one is invalid."""
    request = config_pb2.ApplyRequest(
        sources=sources(filename), default_namespace=namespace, dry_run=dry_run
    )
    answer = asyncio.run(_apply(galley_address(server), request))
    for warning in answer.warnings:
        note(problem_line(warning))
    data = json_format.MessageToDict(answer, preserving_proto_field_name=False)
    suffix = " (dry run)" if dry_run else ""
    rows = [
        [
            reference(result.object),
            config_pb2.ApplyResponse.Action.Name(result.action).lower() + suffix,
        ]
        for result in answer.results
    ]
    show(data, output, ["OBJECT", "RESULT"], rows)


async def _apply(address: str, request: config_pb2.ApplyRequest) -> config_pb2.ApplyResponse:
    async with galley(address) as api:
        try:
            return await api.Apply(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error


def delete(
    filename: Annotated[
        list[Path] | None, typer.Option("-f", "--filename", help="Delete what these files name.")
    ] = None,
    kind: Annotated[str, typer.Argument(help="Kind of the objects named after it.")] = "",
    names: Annotated[list[str] | None, typer.Argument(help="Names.")] = None,
    namespace: Namespace = "default",
    ignore_not_found: Annotated[bool, typer.Option(help="Missing objects are no error.")] = False,
    server: Server = "",
) -> None:
    """Delete objects: by file, or mastctl delete KIND NAME..."""
    if bool(filename) == bool(kind):
        raise CommandError("give files (-f) or a kind and names", status=2)
    if kind and not names:
        raise CommandError(f"which {kind}? give names after it", status=2)
    request = config_pb2.DeleteRequest(
        sources=sources(filename or ()),
        objects=[_reference(_one_kind(kind), namespace, name) for name in names or ()],
        ignore_missing=ignore_not_found,
        default_namespace=namespace,
    )
    answer = asyncio.run(_delete(galley_address(server), request))
    for deleted in answer.deleted:
        typer.echo(f"{reference(deleted)} deleted")


async def _delete(address: str, request: config_pb2.DeleteRequest) -> config_pb2.DeleteResponse:
    async with galley(address) as api:
        try:
            return await api.Delete(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error


def get(
    kind: Annotated[
        str,
        typer.Argument(help="Kind, plural or short name; 'all' (of --findings: nothing) for all."),
    ] = "",
    name: Annotated[str, typer.Argument(help="One object; default: all of the kind.")] = "",
    namespace: Namespace = "default",
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="In every namespace.")
    ] = False,
    selector: Annotated[str, typer.Option("-l", "--selector", help="Label selector.")] = "",
    findings: Annotated[
        bool, typer.Option(help="What is wrong with them, as Pilot and Mixer found out.")
    ] = False,
    server: Server = "",
    output: Output = Format.TABLE,
) -> None:
    """Show stored objects, or with --findings what is wrong with them."""
    if not kind and not findings:
        raise CommandError("name a kind, or 'all'", status=2)
    kind = kind or "all"
    wanted = [] if kind == "all" else [str(each) for each in _kinds(kind)]
    request = config_pb2.ListRequest(
        kinds=wanted,
        namespace="" if all_namespaces else namespace,
        label_selector=selector,
        findings=findings,
    )
    found = [
        o
        for o in asyncio.run(_list(galley_address(server), request)).objects
        if not name or o.metadata.name == name
    ]
    if name and not found:
        raise CommandError(f"{kind} {name!r} not found in namespace {namespace!r}")
    objects = [as_document(o) for o in found]
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    data: Any = objects[0] if name and len(objects) == 1 else listed
    rows = [
        [o.kind, o.metadata.namespace or "-", o.metadata.name, str(o.metadata.generation)]
        for o in found
    ]
    if output is Format.TABLE and not rows:
        note("No objects found.")
        return
    if findings:
        _show_findings(found, data, output)
    else:
        show(data, output, ["KIND", "NAMESPACE", "NAME", "GENERATION"], rows)


def _show_findings(objects: Sequence[config_pb2.Object], data: Any, output: Format) -> None:
    """A row for each finding: object, services that say so, field or name, what is wrong."""
    rows = []
    for each in objects:
        name = [each.kind, each.metadata.namespace or "-", each.metadata.name]
        for finding in each.findings:
            services = sorted({reporter.partition("/")[0] for reporter in finding.reporters})
            rows.append([*name, ",".join(services), finding.key or "-", finding.message])
    if output is Format.TABLE and not rows:
        note(f"Nothing is known to be wrong with {len(objects)} object(s).")
        return
    show(data, output, ["KIND", "NAMESPACE", "NAME", "BY", "WHERE", "FINDING"], rows)


async def _list(address: str, request: config_pb2.ListRequest) -> config_pb2.ListResponse:
    async with galley(address) as api:
        return await api.List(request, timeout=CALL_SECONDS)


class NoFilesError(CommandError):
    """A directory without YAML and JSON."""


def sources(paths: Iterable[Path]) -> list[config_pb2.Source]:
    """The texts of files; directories are searched for YAML and JSON, ``-`` is standard input."""
    return [config_pb2.Source(name=str(f), text=_text(f)) for path in paths for f in files_in(path)]


def files_in(path: Path) -> Sequence[Path]:
    """A file itself, or the YAML and JSON below a directory; NoFilesError if there is none."""
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if not files:
        raise NoFilesError(f"{path} holds no YAML or JSON file")
    return files


def _text(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read().decode()
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {file}: {error}") from error


def refused(error: grpc.aio.AioRpcError) -> Exception:
    """The failure of a call with every finding that came with it, or the error as it is."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        report = config_pb2.ValidationReport()
        if detail.Unpack(report) and report.problems:
            lines = "\n".join(problem_line(p) for p in report.problems)
            return CommandError(f"invalid configuration, nothing was stored\n{lines}")
    return error


def problem_line(problem: config_pb2.Problem) -> str:
    """``file:line: error: Kind ns/name path: message [rule]``; what is not known is left out."""
    line = f":{problem.line}" if problem.line else ""
    where = f"{problem.source or '-'}{line}: " if problem.source or line else ""
    severity = config_pb2.Problem.Severity.Name(problem.severity).lower()
    name = "/".join(part for part in (problem.namespace, problem.name) if part)
    subject = " ".join(part for part in (problem.kind, name, problem.path) if part)
    about = f"{subject}: " if subject else ""
    return f"{where}{severity}: {about}{problem.message} [{problem.rule}]"


def reference(ref: config_pb2.ObjectRef) -> str:
    """``virtualservice.networking.istio.io/reviews`` as kubectl names objects."""
    return f"{ref.kind.lower()}.{ref.group}".removesuffix(".") + f"/{ref.name}"


def as_document(item: config_pb2.Object) -> dict[str, Any]:
    """An object as users write it; the same text every time, though maps have no order."""
    meta = json_format.MessageToDict(item.metadata)
    meta = {key: _ordered(value) for key, value in meta.items()}
    if "createTime" in meta:
        meta["creationTimestamp"] = meta.pop("createTime")
    if "generation" in meta:
        meta["generation"] = int(meta["generation"])
    spec = _ordered(json_format.MessageToDict(item.spec))
    group, _, _ = item.api_version.rpartition("/")
    kind = kinds.BY_GROUP_KIND.get((group, item.kind))
    findings = [json_format.MessageToDict(each) for each in item.findings]
    return {
        "apiVersion": item.api_version,
        "kind": item.kind,
        "metadata": meta,
        **(spec if kind is not None and kind.flat else {"spec": spec}),
        **({"status": {"findings": findings}} if findings else {}),
    }


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def _kinds(text: str) -> Sequence[kinds.Kind]:
    """What may be shown under a name: several groups may have a kind of it, such as Gateway."""
    found = kinds.named(text)
    if not found:
        raise CommandError(f"there is no kind {text!r}", status=2)
    return found


def _one_kind(text: str) -> kinds.Kind:
    found = _kinds(text)
    if len(found) > 1:
        choices = ", ".join(str(kind) for kind in found)
        raise CommandError(f"{text!r} may mean {choices}: write group/kind", status=2)
    return found[0]


def _reference(kind: kinds.Kind, namespace: str, name: str) -> config_pb2.ObjectRef:
    return config_pb2.ObjectRef(
        group=kind.group,
        kind=kind.name,
        namespace="" if kind.cluster_scoped else namespace,
        name=name,
    )


def galley_address(server: str) -> str:
    """Where Galley is: as told, or the administration of this machine's mesh."""
    return server or Home.default().running().addresses["galley-admin"]

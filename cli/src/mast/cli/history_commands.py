"""history and rollback: what became of configuration, by whom, and the way back."""

from __future__ import annotations

import asyncio
import difflib
import re
import sys
from collections.abc import Iterator
from typing import Annotated

import grpc.aio
import typer
from google.protobuf import json_format

from mast.cli.config_commands import (
    CALL_SECONDS,
    Server,
    as_document,
    galley_address,
    problem_line,
    reference,
    refused,
)
from mast.cli.connect import galley_history
from mast.cli.errors import CommandError
from mast.cli.output import Format, dump, note, show
from mast.common import kinds
from mastapi.galley.v1 import config_pb2, history_pb2

KindArgument = Annotated[
    str, typer.Argument(help="Kind, plural or short name; default: all kinds.", metavar="KIND")
]
NameArgument = Annotated[str, typer.Argument(help="One object.", metavar="NAME")]
OnlyNamespace = Annotated[
    str, typer.Option("-n", "--namespace", help="Only objects of this namespace.")
]
Output = Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")]

_REVISIONS = re.compile(r"(\d+)\.\.(\d*)")

EXAMPLES = """\b
Examples:
  mastctl history virtualservice reviews -n shop
  mastctl diff --revision 120..125           (what became of configuration)
  mastctl rollback 120 --dry-run             (what would be put back)
  mastctl rollback 125 --undo                (undo that change only)
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=EXAMPLES)(history)
    app.command(epilog=EXAMPLES)(rollback)


def history(
    kind: KindArgument = "",
    name: NameArgument = "",
    namespace: OnlyNamespace = "",
    limit: Annotated[int, typer.Option(min=0, help="How many changes; 0 for all.")] = 20,
    before: Annotated[int, typer.Option(min=0, help="Only changes before this revision.")] = 0,
    server: Server = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what changed in the configuration, when and by whom; the newest change first."""
    request = history_pb2.HistoryRequest(
        scope=_scope(kind, name, namespace), limit=limit, before=before
    )
    answer = asyncio.run(_history(galley_address(server), request))
    rows = [
        [
            str(change.revision),
            f"{change.time.ToDatetime():%Y-%m-%dT%H:%M:%SZ}",
            f"{change.author} at {change.commit[:12]}" if change.commit else change.author,
            _operation(change),
            _action(each.action),
            each.object.namespace or "-",
            reference(each.object),
        ]
        for change in answer.changes
        for each in change.objects
    ]
    if output is Format.TABLE and not rows:
        note(f"No change is known since revision {answer.oldest}.")
        return
    columns = ["REVISION", "TIME", "BY", "CHANGE", "ACTION", "NAMESPACE", "OBJECT"]
    show(json_format.MessageToDict(answer), output, columns, rows)


async def _history(
    address: str, request: history_pb2.HistoryRequest
) -> history_pb2.HistoryResponse:
    async with galley_history(address) as api:
        return await api.History(request, timeout=CALL_SECONDS)


def rollback(
    revision: Annotated[int, typer.Argument(min=1, help="As history tells it.")],
    kind: KindArgument = "",
    name: NameArgument = "",
    namespace: OnlyNamespace = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo the change of this revision, nothing else.")
    ] = False,
    seen: Annotated[
        int,
        typer.Option(min=0, help="Give up if one of the objects changed after this revision."),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, store nothing.")] = False,
    server: Server = "",
    output: Output = Format.TABLE,
) -> None:
    """Put configuration back to what it was at a revision: all of it, or the objects named.

    It is judged again and stored in one transaction; what is in the way is told.
    """
    request = history_pb2.RollbackRequest(
        revision=revision,
        undo=undo,
        scope=_scope(kind, name, namespace),
        dry_run=dry_run,
        seen_revision=seen,
    )
    answer = asyncio.run(_rollback(galley_address(server), request))
    for warning in answer.warnings:
        note(problem_line(warning))
    for ref in answer.skipped:
        note(f"{reference(ref)} stays as it is: values of Secrets are not kept")
    if output is Format.TABLE and not answer.results:
        note("Nothing is to be put back.")
        return
    suffix = " (dry run)" if dry_run else ""
    rows = [
        [each.object.namespace or "-", reference(each.object), _action(each.action) + suffix]
        for each in answer.results
    ]
    show(json_format.MessageToDict(answer), output, ["NAMESPACE", "OBJECT", "RESULT"], rows)
    if dry_run:
        note(f"compared with revision {answer.compared_revision}; to insist on it: --seen")


async def _rollback(
    address: str, request: history_pb2.RollbackRequest
) -> history_pb2.RollbackResponse:
    async with galley_history(address) as api:
        try:
            return await api.Rollback(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise refused(error) from error


def show_differences(revisions: str, what: str, namespace: str, server: str) -> None:
    """``diff --revision``: objects as diff -u shows them; exit status 1 if any differs.

    ``revisions`` is ``A..B`` or ``A..``, ``what`` a kind, ``KIND/NAME`` or nothing.
    """
    match = _REVISIONS.fullmatch(revisions)
    if match is None:
        raise CommandError(f"--revision {revisions!r}: must be A..B or A..", status=2)
    kind, name = (what, "") if kinds.named(what) else what.rpartition("/")[::2]
    request = history_pb2.DiffRequest(
        from_revision=int(match[1]),
        to_revision=int(match[2] or 0),
        scope=_scope(kind or what, name if kind else "", namespace),
    )
    answer = asyncio.run(_diff(galley_address(server), request))
    for each in answer.differences:
        sys.stdout.writelines(_lines(each, answer.from_revision, answer.to_revision))
    if answer.differences:
        raise typer.Exit(1)


async def _diff(address: str, request: history_pb2.DiffRequest) -> history_pb2.DiffResponse:
    async with galley_history(address) as api:
        return await api.Diff(request, timeout=CALL_SECONDS)


def _lines(each: history_pb2.DiffResponse.Difference, first: int, last: int) -> Iterator[str]:
    ref = each.object
    named = f"{reference(ref)} of {ref.namespace}" if ref.namespace else reference(ref)
    if each.sealed:
        yield f"{named}: differs; values of Secrets are not kept\n"
        return
    before = _text(each.before) if each.HasField("before") else []
    after = _text(each.after) if each.HasField("after") else []
    yield from difflib.unified_diff(before, after, f"{named} at {first}", f"{named} at {last}")


def _text(item: config_pb2.Object) -> list[str]:
    return dump(as_document(item), Format.YAML).splitlines(keepends=True)


def _scope(kind: str, name: str, namespace: str) -> history_pb2.Scope:
    if kind and kind != "all" and not kinds.named(kind):
        raise CommandError(f"there is no kind {kind!r}", status=2)
    return history_pb2.Scope(
        kinds=[str(each) for each in kinds.named(kind)], namespace=namespace, name=name
    )


def _operation(change: history_pb2.Change) -> str:
    name = history_pb2.Change.Operation.Name(change.operation).lower()
    return f"{name} to {change.restored_revision}" if change.restored_revision else name


def _action(action: history_pb2.ObjectChange.Action.ValueType) -> str:
    return history_pb2.ObjectChange.Action.Name(action).lower()

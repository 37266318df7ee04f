"""validate: files judged by the rules that objects are stored by; no server is asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from mast.cli.config_commands import NoFilesError, files_in, problem_line
from mast.cli.errors import CommandError
from mast.galley.api.problems import problem as as_message
from mast.galley.core.documents import TEXT_LIMIT_BYTES, parsed, utf8
from mast.galley.core.judge import judge
from mast.galley.core.manifests import Manifest, Manifests
from mast.galley.core.objects import Compat, Defaults, Reading, read_documents
from mast.galley.core.problem import Problem
from mast.galley.core.verdicts import Verdict, verdicts


class Report(StrEnum):
    """Formats of what was found."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(validate)


def validate(
    filename: Annotated[
        list[Path],
        typer.Option("-f", "--filename", help="File, directory, or - for standard input."),
    ],
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Namespace of objects that name none.")
    ] = "default",
    compat: Annotated[
        Compat, typer.Option(help="By whose rules: today's, or the stricter ones of Istio 1.4.")
    ] = Compat.CURRENT,
    output: Annotated[
        Report, typer.Option("-o", "--output", help="Lines, or a JSON object for each document.")
    ] = Report.TEXT,
) -> None:
    """Judge objects in files and tell all findings; nothing is stored, no server is needed.

    Exit status 0 if all are valid, 1 if one is not, 2 for wrong usage. Of Kubernetes' own kinds
    those are judged that Mast reads; documents of other kinds are skipped with a note.

    \b
    mastctl validate -f mesh/
    kustomize build . | mastctl validate -f - -o json | jq 'select(.valid | not)'
    """
    defaults = Defaults(namespace, skip_foreign=True)
    judges = Manifests(namespace, warnings=compat is Compat.CURRENT)
    parts = list(_parts(filename, defaults, judges))
    judgement = judge(Reading.joined(part.reading for part in parts), compat)
    found = verdicts(judgement, (each for part in parts for each in part.manifests))
    order = {part.source: number for number, part in enumerate(parts)}
    found.sort(key=lambda each: order[each.source])
    for each in found:
        lines = [json.dumps(_as_json(each))] if output is Report.JSON else _lines(each)
        for line in lines:
            typer.echo(line)
    judged = sum(1 for each in found if not each.notes)
    wrong = sum(len(each.errors) for each in found)
    if wrong:
        raise CommandError(f"{wrong} error(s) in {judged} document(s)")
    if output is Report.TEXT:
        skipped = f", {len(found) - judged} skipped" if judged < len(found) else ""
        typer.echo(f"{judged} document(s) valid{skipped}")


class _Part(NamedTuple):
    """A file: its objects of the mesh, and what a cluster takes besides."""

    source: str
    reading: Reading
    manifests: Sequence[Manifest] = ()


def _parts(paths: Iterable[Path], defaults: Defaults, judges: Manifests) -> Iterator[_Part]:
    """What files hold, in their order."""
    for path in paths:
        if str(path) != "-" and not path.exists():
            raise CommandError(f"{path} does not exist", status=2)
        try:
            files = files_in(path)
        except NoFilesError as error:
            raise CommandError(str(error), status=2) from error
        for file in files:
            source = os.fsencode(file).decode(errors="replace")
            try:
                text = utf8(_content(file))
            except OSError as error:
                unreadable = Problem("unreadable", f"cannot be read: {error}", source=source)
                yield _Part(source, Reading((), (unreadable,)))
            else:
                documents = list(parsed(text))
                manifests = list(judges.judged(documents, source))
                yield _Part(source, read_documents(documents, source, defaults), manifests)


def _content(file: Path) -> bytes:
    """The bytes of a file, no more than make it too long."""
    if str(file) == "-":
        return sys.stdin.buffer.read(TEXT_LIMIT_BYTES + 1)
    with file.open("rb") as opened:
        return opened.read(TEXT_LIMIT_BYTES + 1)


def _lines(verdict: Verdict) -> Iterator[str]:
    """``file:line: severity: Kind ns/name path: message [rule]``, by line."""
    told = sorted((*verdict.errors, *verdict.warnings), key=lambda each: each.position.line)
    for each in told:
        yield problem_line(as_message(each))
    for each in verdict.notes:
        named = " ".join(filter(None, [each.kind, each.name]))
        yield f"{each.source}:{each.position.line}: note: {named}: skipped: {each.message}"


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "file": verdict.source,
        "line": verdict.position.line,
        "kind": verdict.kind,
        "namespace": verdict.namespace,
        "name": verdict.name,
        "valid": verdict.valid,
        "errors": [_finding(each) for each in verdict.errors],
        "warnings": [_finding(each) for each in verdict.warnings],
        "notes": [_finding(each) for each in verdict.notes],
    }


def _finding(problem: Problem) -> dict[str, Any]:
    return {
        "line": problem.position.line,
        "path": problem.path,
        "rule": problem.rule,
        "message": problem.message,
    }

"""analyze: what is wrong with configuration as a whole, in the way of Istio's own tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.cobra import USAGE, CobraCommand
from mast.cli.config_commands import NoFilesError, sources
from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import Kubeconfig
from mast.cli.output import dump, note

if TYPE_CHECKING:
    from mast.galley.core.analysis.codes import Level
    from mast.galley.core.analysis.reading import Content
    from mast.galley.core.analysis.snapshot import Item, Message
    from mast.galley.core.analysis.suppression import Suppression

FOUND = 79
"""Exit status: there are messages of the level of --failure-threshold, or worse."""
DATA = 65
"""Exit status: something could not be read (sysexits.h, EX_DATAERR)."""

EXAMPLES = """\b
Examples:
  mastctl analyze
  mastctl analyze --use-kube=false -A mesh/ services.yaml
  mastctl analyze -A --remote-contexts main,east
  mastctl analyze -A -S "IST0102=Namespace legacy" -S "IST0118=Service shop/*"
  kustomize build . | mastctl analyze -A - -o json
"""

_COLORS = {"Warning": "\x1b[33m", "Error": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"


class AnalysisFormat(StrEnum):
    """How messages are printed."""

    LOG = "log"
    JSON = "json"
    YAML = "yaml"


class Threshold(StrEnum):
    """A level of messages."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"

    @property
    def level(self) -> Level:
        """The level as analyzers have it."""
        from mast.galley.core.analysis.codes import Level

        return Level[self.name]


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(cls=CobraCommand, epilog=EXAMPLES)(analyze)


def analyze(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|DIRECTORY|-]...", help="What to analyze, - is a pipe."),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Tell of every namespace.")
    ] = False,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Tell of this one; of files without any, too.")
    ] = "default",
    recursive: Annotated[
        bool, typer.Option("-R", "--recursive", help="Search directories to the ground: always.")
    ] = True,
    suppress: Annotated[
        list[str] | None,
        typer.Option("-S", "--suppress", help="CODE=OBJECT not to tell of; * is any text."),
    ] = None,
    list_analyzers: Annotated[
        bool, typer.Option("-L", "--list-analyzers", help="Tell what is looked for.")
    ] = False,
    output: Annotated[
        AnalysisFormat, typer.Option("-o", "--output", help="Format of the messages.")
    ] = AnalysisFormat.LOG,
    failure_threshold: Annotated[
        Threshold, typer.Option(case_sensitive=False, help="The level that is a failure.")
    ] = Threshold.ERROR,
    output_threshold: Annotated[
        Threshold, typer.Option(case_sensitive=False, help="The least level that is printed.")
    ] = Threshold.INFO,
    color: Annotated[
        bool, typer.Option("--color/--no-color", help="Levels in colour, on a terminal.")
    ] = True,
    use_kube: Annotated[
        bool | None,
        typer.Option(
            "-k/ ",
            "--use-kube/--no-use-kube",
            help="Take what the running mesh has, under what files have. Default: without files.",
        ),
    ] = None,
    mesh_config: Annotated[
        Path | None,
        typer.Option("--meshConfigFile", help="Mesh settings as Istio has them, instead of any."),
    ] = None,
    revision: Annotated[
        str, typer.Option("-r", "--revision", help="Leave out what is for other revisions.")
    ] = "",
    remote_contexts: Annotated[
        list[str] | None,
        typer.Option(help="Contexts of a kubeconfig: compare the Services of their clusters."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="What cannot be read is no failure.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tell also what is experimental, and skipped.")
    ] = False,
) -> None:
    """Find what is wrong with configuration as a whole: of files, or of the running mesh.

    Exit status with -o log: 0, 79 (there are errors), 65 (something could not be read); 64 wrong
    usage.
    """
    if list_analyzers:
        _list_analyzers()
        return
    unwanted = [_suppression(each) for each in suppress or ()]
    given = _texts(files or (), namespace)
    settings = _settings(mesh_config)
    problems = (*given.problems, *settings.problems)
    for problem in problems:
        note(str(problem))
    _tell_skipped(given, verbose=verbose)
    contexts = [each for text in remote_contexts or () for each in text.split(",") if each]
    live = not (files or contexts) if use_kube is None else use_kube
    if not (live or files or contexts):
        raise CommandError("name files, or let the running mesh be analyzed", status=USAGE)
    where = "all namespaces" if all_namespaces else f"namespace {namespace}"
    found = [*_items(given, settings, live=live), *_services_of(contexts, kubeconfig)]
    messages = _messages(found, revision, verbose=verbose)
    wanted = [m for m in messages if not any(each.covers(m) for each in unwanted)]
    shown = [m for m in wanted if all_namespaces or _is_of(m, namespace)]
    if len(shown) < len(wanted):
        note(f"{len(wanted) - len(shown)} message(s) about other namespaces; see them with -A")
    printed = [m for m in shown if _level(m) >= output_threshold.level]
    _print(printed, output, color=color)
    if output is not AnalysisFormat.LOG:
        return
    if not printed and not problems:
        note(f"\u2714 Nothing to report in {where}.")
    if any(_level(m) >= failure_threshold.level for m in shown):
        raise CommandError(
            f"there is something wrong in {where}",
            hint="docs/analysis.md says of each code what to do",
            status=FOUND,
        )
    if problems and not ignore_unknown:
        raise CommandError(f"{len(problems)} problem(s) of reading, see above", status=DATA)


def _suppression(text: str) -> Suppression:
    from mast.galley.core.analysis.suppression import suppression

    try:
        return suppression(text)
    except ValueError as error:
        raise CommandError(str(error), status=USAGE) from error


def _list_analyzers() -> None:
    from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE

    for analyzer in (*ANALYZERS, *VERBOSE):
        codes = ", ".join(sorted(analyzer.codes))
        sys.stdout.write(f"* {analyzer.name}:\n    {analyzer.description} ({codes})\n")


def _texts(files: Iterable[Path], namespace: str) -> Content:
    """What files hold; one that cannot be opened is wrong usage."""
    from mast.galley.core.analysis.reading import read

    found = []
    for file in files:
        try:
            found += sources([file])
        except NoFilesError as nothing:
            note(f"warning: {nothing}")
        except CommandError as error:
            raise CommandError(str(error), status=USAGE) from error
    return read(found, namespace)


def _tell_skipped(given: Content, *, verbose: bool) -> None:
    """Documents that no analyzer looks at."""
    if verbose:
        for problem in given.skipped:
            note(str(problem))
    elif given.skipped:
        kinds = ", ".join(sorted({problem.kind for problem in given.skipped}))
        note(f"{len(given.skipped)} document(s) are not looked at: {kinds}")


def _settings(file: Path | None) -> Content:
    """The MeshConfig of a file, which may have it in any of its forms."""
    from mast.galley.core.analysis.reading import Content, configured
    from mast.galley.core.problem import errors

    if file is None:
        return Content()
    from mast.cli.offline.reading import mesh_settings

    try:
        (source,) = sources([file])
    except (CommandError, NoFilesError) as error:
        raise CommandError(str(error), status=USAGE) from error
    reading = mesh_settings(source)
    about = {each.about for each in reading.objects}  # of these the analyzers tell what is wrong
    lost = (each for each in errors(reading.problems) if each.about not in about)
    return Content(tuple(configured(reading)), tuple(lost))


def _items(given: Content, settings: Content, *, live: bool) -> Sequence[Item]:
    """What is looked at; settings of their own take the place of all others."""
    from mast.galley.core.analysis.assumed import completed
    from mast.galley.core.analysis.kinds import MESH_CONFIG
    from mast.galley.core.analysis.reading import merged

    found: Sequence[Item] = merged(_live_items(), given.items) if live else given.items
    if settings.items:
        found = [*(item for item in found if item.kind != MESH_CONFIG), *settings.items]
    return found if live else completed(found)


def _live_items() -> Sequence[Item]:
    from mast.cli.local.home import Home

    Home.default().running()  # there is no need to load Pilot if there is no mesh
    from mast.cli.analysis_mesh import live_items

    return live_items()


def _services_of(contexts: Sequence[str], kubeconfig: Path | None) -> Sequence[Item]:
    if not contexts:
        return ()
    from mast.cli.analysis_clusters import services_of

    return list(services_of(contexts, kubeconfig))


def _messages(items: Iterable[Item], revision: str, *, verbose: bool) -> Sequence[Message]:
    from mast.galley.core.analysis.analysis import analyse
    from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE
    from mast.galley.core.analysis.revisions import of_revision
    from mast.galley.core.analysis.snapshot import Snapshot

    analyzers = (*ANALYZERS, *VERBOSE) if verbose else ANALYZERS
    wanted = of_revision(items, revision) if revision else items
    return analyse(analyzers, Snapshot(wanted)).messages


def _is_of(message: Message, namespace: str) -> bool:
    """Whether a message concerns a namespace: what is of none concerns all."""
    return message.item is None or message.item.place in {"", namespace}


def _level(message: Message) -> Level:
    from mast.galley.core.analysis.codes import CODES

    return CODES[message.code].level


def _print(messages: Sequence[Message], output: AnalysisFormat, *, color: bool) -> None:
    if output is AnalysisFormat.LOG:
        colored = color and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        for message in messages:
            sys.stdout.write(line(message, colored=colored) + "\n")
    else:
        sys.stdout.write(dump([document(each) for each in messages], output))


def line(message: Message, *, colored: bool = False) -> str:
    """``Level [ISTnnnn] (Kind namespace/name file:line) text``."""
    level = _level(message).label
    begin = _COLORS.get(level, "") if colored else ""
    place = " ".join(part for part in (message.origin, message.reference) if part)
    where = f" ({place})" if place else ""
    return f"{begin}{level}{_PLAIN if begin else ''} [{message.code}]{where} {message.text}"


def document(message: Message) -> dict[str, Any]:
    """A message as data, with Istio's names of its parts."""
    from mast.galley.core.analysis.codes import CODES

    code = CODES[message.code]
    parts = {
        "code": code.number,
        "documentationUrl": code.documentation,
        "level": code.level.label,
        "message": message.text,
        "origin": message.origin,
        "reference": message.reference,
    }
    return {name: text for name, text in parts.items() if text}

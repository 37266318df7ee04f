"""manifest, profile: what an installation consists of, without any cluster."""

from __future__ import annotations

import sys
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.cobra import SwitchCommand
from mast.cli.errors import CommandError
from mast.cli.install.options import (
    Files,
    Manifests,
    Profile,
    Revision,
    Settings,
    wanted,
)
from mast.cli.kubernetes_access import IstioNamespace
from mast.cli.output import dump, note

if TYPE_CHECKING:
    from mast.cli.install.manifests import Object

GENERATE_EXAMPLES = """\b
Examples:
  mastctl manifest generate --profile minimal | kubectl apply -f -
  mastctl manifest generate -f mesh.yaml -o manifests/
"""
DIFF_EXAMPLES = """\b
Examples:
  mastctl manifest diff before.yaml after.yaml
  mastctl manifest diff before/ after/ --ignore 'ConfigMap:*:mast-dashboard-*'
"""
DUMP_EXAMPLES = """\b
Examples:
  mastctl profile dump demo
  mastctl profile dump ha --config-path pilot
"""

_Patterns = list[str] | None


class Shape(StrEnum):
    """Formats of values."""

    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    manifest = typer.Typer(no_args_is_help=True)
    manifest.command(cls=SwitchCommand, epilog=GENERATE_EXAMPLES)(generate)
    manifest.command(cls=SwitchCommand, epilog=DIFF_EXAMPLES)(diff)
    app.add_typer(manifest, name="manifest", help="Manifests of installations.")
    profile = typer.Typer(no_args_is_help=True)
    profile.command(name="list", cls=SwitchCommand)(list_profiles)
    profile.command(name="dump", cls=SwitchCommand, epilog=DUMP_EXAMPLES)(dump_profile)
    app.add_typer(profile, name="profile", help="Values that installations begin with.")


def generate(
    files: Files = None,
    settings: Settings = None,
    profile: Profile = "",
    revision: Revision = "",
    manifests: Manifests = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory; default: standard output.")
    ] = None,
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Print what `install` would apply, definitions first; for kubectl apply, or to look at it.

    No cluster is asked, so a second revision needs the values that `install` finds out by itself
    (docs/install.md, "A second revision").
    """
    from mast.cli.install.chart import DEFAULT_PROFILE
    from mast.cli.install.release import release_name
    from mast.cli.install.values import merged

    chart, wishes = wanted(files, settings, profile, revision, manifests)
    values = merged(chart.profile(wishes.profile or DEFAULT_PROFILE), wishes.values)
    name = release_name(wishes.revision)
    rendered = chart.rendered(values, release=name, namespace=istio_namespace)
    for hook in rendered.left_out:
        note(f"Left out: {hook}, which is for `helm test`.")
    objects = [*rendered.definitions, *rendered.objects]
    if output is None:
        sys.stdout.writelines(f"---\n{dump(each, 'yaml')}" for each in objects)
    else:
        _write(objects, output)


def diff(
    first: Annotated[Path, typer.Argument(metavar="FILE|DIRECTORY", help="Of before.")],
    second: Annotated[Path, typer.Argument(metavar="FILE|DIRECTORY", help="Of after.")],
    select: Annotated[
        _Patterns, typer.Option(help="Only KIND:NAMESPACE:NAME, * is any text.")
    ] = None,
    ignore: Annotated[_Patterns, typer.Option(help="Not KIND:NAMESPACE:NAME.")] = None,
) -> None:
    """Show how manifests differ, object by object and field by field; exit status 1 if they do."""
    from mast.cli.install.comparing import compared
    from mast.cli.install.reading import manifest

    before, after = (
        [each for each in manifest(path) if _chosen(each, select, ignore)]
        for path in (first, second)
    )
    lines = list(compared(before, after))
    if not lines:
        typer.echo("Manifests are identical")
        return
    typer.echo("Differences in manifests are:")
    for line in lines:
        typer.echo(line)
    raise typer.Exit(1)


def list_profiles(manifests: Manifests = None) -> None:
    """Show the profiles of the chart."""
    from mast.cli.install.chart import loaded

    typer.echo("Mast configuration profiles:")
    for name in loaded(manifests).profiles():
        typer.echo(f"    {name}")


def dump_profile(
    name: Annotated[str, typer.Argument(metavar="[PROFILE]", help="Default: default.")] = "",
    files: Files = None,
    settings: Settings = None,
    manifests: Manifests = None,
    config_path: Annotated[
        str, typer.Option("-p", "--config-path", help="Only the value there, as in pilot.env.")
    ] = "",
    output: Annotated[Shape, typer.Option("-o", "--output", help="Format.")] = Shape.YAML,
) -> None:
    """Print all values of a profile, those of the chart included; `install -f` takes them."""
    from mast.cli.install.chart import DEFAULT_PROFILE
    from mast.cli.install.values import merged, said, value_at

    chart, wishes = wanted(files, settings, name, "", manifests)
    profile = chart.profile(wishes.profile or DEFAULT_PROFILE)
    values = said(merged(merged(chart.defaults, profile), wishes.values))
    found = value_at(values, *config_path.split(".")) if config_path else values
    if found is None:
        raise CommandError(f"--config-path {config_path}: there is no such value")
    sys.stdout.write(dump(found, output))


def _write(objects: list[Object], directory: Path) -> None:
    """Each object into a file of its own, numbered in the order in which they are applied."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(objects):
            name = f"{number:03}-{each['kind'].lower()}-{each['metadata']['name']}.yaml"
            (directory / name.replace(":", "-")).write_text(dump(each, "yaml"), "utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {directory}: {error}") from error
    note(f"{len(objects)} files written to {directory}")


def _chosen(found: Object, select: _Patterns, ignore: _Patterns) -> bool:
    metadata = found["metadata"]
    name = f"{found['kind']}:{metadata.get('namespace', '')}:{metadata['name']}"
    if any(fnmatchcase(name, pattern) for pattern in ignore or ()):
        return False
    return not select or any(fnmatchcase(name, pattern) for pattern in select)

"""Options that commands about installations share, and what a user wants by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mast.cli.install.chart import Chart
    from mast.cli.install.wishes import Wishes

Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--values", "--filename", help="Values of the chart, or an IstioOperator."),
]
Settings = Annotated[
    list[str] | None, typer.Option("-s", "--set", help="PATH=VALUE, over what files say.")
]
Profile = Annotated[str, typer.Option("--profile", help="Values to begin with; default: default.")]
Revision = Annotated[str, typer.Option("-r", "--revision", help="Of the control plane.")]
Manifests = Annotated[
    Path | None, typer.Option("-d", "--manifests", help="A chart; default: the one mastctl brings.")
]
Force = Annotated[bool, typer.Option("--force", help="Go on whatever is in the way.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")]
Confirmed = Annotated[bool, typer.Option("-y", "--skip-confirmation", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until everything is ready.")]
Within = Annotated[str, typer.Option("--readiness-timeout", help="Longest wait.")]


def wanted(
    files: list[Path] | None,
    settings: list[str] | None,
    profile: str,
    revision: str,
    manifests: Path | None,
) -> tuple[Chart, Wishes]:
    """The chart, and what a user wants of it; CommandError for what does not map."""
    from mast.cli.install.chart import loaded
    from mast.cli.install.wishes import wishes

    chart = loaded(manifests)
    found = wishes(files or (), settings or (), profile=profile, revision=revision, chart=chart)
    return chart, found

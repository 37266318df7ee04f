"""uninstall: a control plane goes, by what was written down when it was installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.cobra import SwitchCommand
from mast.cli.errors import CommandError
from mast.cli.install.options import Confirmed, DryRun, Force, Manifests
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig
from mast.cli.output import note

if TYPE_CHECKING:
    from pathlib import Path

    from mast.cli.install.chart import Chart
    from mast.cli.install.removal import Removal
    from mast.common.kubernetes import Api

EXAMPLES = """\b
Examples:
  mastctl uninstall --revision canary
  mastctl uninstall --revision default --dry-run
  mastctl uninstall --purge -y       (with definitions and what is stored: nothing is left)
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(cls=SwitchCommand, epilog=EXAMPLES)(uninstall)


def uninstall(
    revision: Annotated[str, typer.Option("-r", "--revision", help="What to remove.")] = "",
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Every revision, and what lasts: definitions, Secrets, data."),
    ] = False,
    manifests: Manifests = None,
    force: Force = False,
    dry_run: DryRun = False,
    skip_confirmation: Confirmed = False,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Remove a control plane that mastctl installed.

    CustomResourceDefinitions (and with them configuration), the Secrets of the bootstrap and the
    volumes of etcd stay, unless --purge is given.
    """
    if bool(revision) == purge:
        raise CommandError("want either --revision or --purge", status=2)
    choice = ClusterChoice(kubeconfig, context)
    chart = None if purge else _chart(manifests)

    async def plan(api: Api) -> Removal:
        from mast.cli.install.removal import removal

        return await removal(api, istio_namespace, revision, chart, purge=purge, force=force)

    wanted = choice.ask(plan)
    _tell(wanted)
    if dry_run:
        return
    if not skip_confirmation and not typer.confirm(_question(wanted, purge=purge), err=True):
        raise typer.Abort

    async def work(api: Api) -> None:
        from mast.cli.install.removal import carry_out

        await carry_out(api, wanted, tell=note)

    choice.ask(work)
    note("\u2714 Uninstall complete")


def _chart(manifests: Path | None) -> Chart | None:
    """The chart, by which Citadel forgets the names of a revision; None without Helm's engine."""
    from mast.cli.install.chart import loaded

    try:
        return loaded(manifests)
    except CommandError as error:
        if manifests is not None:
            raise
        note(f"Citadel will not forget the revision: {error}")
        return None


def _tell(wanted: Removal) -> None:
    from mast.cli.install.manifests import identity

    for found in wanted.objects:
        typer.echo(f"- {identity(found)}")
    if wanted.users:
        note(
            f"Namespaces that belong to it: {', '.join(wanted.users)}. Their pods keep proxies that"
            " learn nothing new; restart them once another revision injects them."
        )


def _question(wanted: Removal, *, purge: bool) -> str:
    revisions = ", ".join(repr(each.revision) for each in wanted.releases)
    what = "All of Mast, with its configuration and data," if purge else f"Revision {revisions}"
    return f"{what} will be removed from the cluster. Proceed?"

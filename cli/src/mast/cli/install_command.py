"""install, upgrade: a control plane in a cluster, by the chart."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.cobra import SwitchCommand
from mast.cli.errors import CommandError
from mast.cli.install.options import (
    Confirmed,
    DryRun,
    Files,
    Force,
    Manifests,
    Profile,
    Revision,
    Settings,
    Wait,
    Within,
    wanted,
)
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig
from mast.cli.output import note
from mast.common.process.settings import duration

if TYPE_CHECKING:
    from mast.cli.install.chart import Chart
    from mast.cli.install.plan import Asked, Plan

EXAMPLES = """\b
Examples:
  mastctl install
  mastctl install --profile demo --set meshConfig.accessLogFile=/dev/stdout -y
  mastctl install -f mesh.yaml --revision canary
  mastctl install --dry-run
"""
UPGRADE_EXAMPLES = """\b
Examples:
  mastctl upgrade
  mastctl upgrade --dry-run
  mastctl upgrade --set pilot.autoscaleMin=2 --readiness-timeout 10m
"""

# Errors of precheck that an upgrade makes neither better nor worse: overlapping webhooks.
_NOT_OURS = frozenset({"IST0139"})


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(cls=SwitchCommand, epilog=EXAMPLES)(install)
    app.command(cls=SwitchCommand, epilog=UPGRADE_EXAMPLES)(upgrade)


def install(
    files: Files = None,
    settings: Settings = None,
    profile: Profile = "",
    revision: Revision = "",
    manifests: Manifests = None,
    force: Force = False,
    dry_run: DryRun = False,
    skip_confirmation: Confirmed = False,
    wait: Wait = True,
    readiness_timeout: Within = "5m",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Install a control plane, or make one that is there as this says.

    With --revision beside another one it becomes its second revision: etcd, Citadel, Mixer and
    gateways are shared.
    """
    from mast.cli.install.plan import Asked

    within = _within(readiness_timeout)
    chart, wishes = wanted(files, settings, profile, revision, manifests)
    asked = Asked(wishes=wishes, namespace=istio_namespace, force=force)
    choice = ClusterChoice(kubeconfig, context)
    plan = _plan(choice, chart, asked)
    if dry_run:
        _tell(plan)
        return
    if not skip_confirmation:
        _confirm(_question(plan))
    _carry_out(choice, plan, within, wait=wait)
    note("\u2714 Installation complete")
    typer.echo(plan.rendered.notes)


def upgrade(
    files: Files = None,
    settings: Settings = None,
    profile: Profile = "",
    revision: Revision = "",
    manifests: Manifests = None,
    force: Force = False,
    dry_run: DryRun = False,
    reset_values: Annotated[
        bool, typer.Option("--reset-values", help="Forget the values of before.")
    ] = False,
    skip_confirmation: Confirmed = False,
    wait: Wait = True,
    readiness_timeout: Within = "5m",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Bring a control plane to the chart's version, with the values that it has.

    What is in the way is looked for as by `precheck`, what changes is shown first. Versions cannot
    be skipped, and there is no way back, unless --force is given.
    """
    from mast.cli.install.plan import Asked

    within = _within(readiness_timeout)
    chart, wishes = wanted(files, settings, profile, revision, manifests)
    asked = Asked(
        wishes=wishes,
        namespace=istio_namespace,
        upgrade=True,
        reset_values=reset_values,
        force=force,
    )
    choice = ClusterChoice(kubeconfig, context)
    _precheck(choice, istio_namespace, force=force)
    plan = _plan(choice, chart, asked)
    _tell(plan)
    if dry_run:
        return
    if not skip_confirmation:
        _confirm(_question(plan))
    _carry_out(choice, plan, within, wait=wait)
    note("\u2714 Upgrade complete")
    note("Pods keep their proxies until they are restarted: kubectl rollout restart deployment …")


def _within(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise CommandError(f"--readiness-timeout: {error}", status=2) from error


def _plan(choice: ClusterChoice, chart: Chart, asked: Asked) -> Plan:
    from mast.cli.install.plan import planned

    return choice.ask(lambda api: planned(api, chart, asked))


def _precheck(choice: ClusterChoice, namespace: str, *, force: bool) -> None:
    from mast.cli.analyze_command import line
    from mast.cli.precheck_command import messages
    from mast.galley.core.analysis.codes import CODES, Level

    found = choice.ask(lambda api: messages(api, namespace))
    for each in found:
        note(line(each))
    errors = [each for each in found if CODES[each.code].level is Level.ERROR]
    errors = [each for each in errors if each.code not in _NOT_OURS]
    if errors and not force:
        raise CommandError("this is in the way of an upgrade", hint="insist with --force")


def _tell(plan: Plan) -> None:
    for line in plan.lines():
        typer.echo(line)
    if not plan.changes:
        note("Nothing changes.")
    for hook in plan.rendered.left_out:
        note(f"Not installed: {hook}, which is for `helm test`.")


def _question(plan: Plan) -> str:
    from mast.cli.install.carrying_out import components

    release = plan.release
    parts = ", ".join(components(release.objects)) or "none"
    verb = "change" if plan.upgrade else "install"
    beside = ""
    if plan.first is not None:
        beside = f" beside revision {plan.first[0].revision!r}"
    return (
        f"This will {verb} the Mast {release.version} profile {release.profile!r} (with components:"
        f" {parts}) as revision {release.revision!r}{beside} in {release.namespace}."
    )


def _confirm(question: str) -> None:
    if not typer.confirm(f"{question} Proceed?", err=True):
        raise typer.Abort


def _carry_out(choice: ClusterChoice, plan: Plan, within: timedelta, *, wait: bool) -> None:
    from mast.cli.install.carrying_out import carry_out

    choice.ask(lambda api: carry_out(api, plan, wait=wait, within=within, tell=note))

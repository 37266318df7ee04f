"""tag: names of revisions of the control plane, which namespaces are labelled with."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig
from mast.cli.output import dump, note, plain

if TYPE_CHECKING:
    from mast.common.kubernetes import Api, Object
    from mast.galley.core.injection.tags import Tag

COLUMNS = ("TAG", "REVISION", "NAMESPACES")

EXAMPLES = """\b
Examples:
  mastctl tag set prod --revision 1-20
  mastctl tag set prod --revision 1-21 --overwrite     (moves it: new pods get revision 1-21)
  kubectl label namespace shop istio.io/rev=prod
  mastctl tag generate prod --revision 1-21 > tag.yaml
  mastctl tag list
"""

Revision = Annotated[str, typer.Option("-r", "--revision", help="Revision to stand for.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Move a tag that is there.")]
WebhookName = Annotated[
    str, typer.Option("--webhook-name", help="Of the configuration; default: as Istio names it.")
]
ByDefault = Annotated[
    bool,
    typer.Option(
        "--auto-inject-namespaces",
        help="Of the tag default: inject also where no label says anything.",
    ),
]
Confirmed = Annotated[bool, typer.Option("-y", "--skip-confirmation", help="Do not ask.")]
TagName = Annotated[str, typer.Argument(metavar="TAG")]


class ListFormat(StrEnum):
    """Formats of the list of tags."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command(name="set", epilog=EXAMPLES)(set_tag)
    group.command(name="generate", epilog=EXAMPLES)(generate)
    group.command(name="list")(list_tags)
    group.command(name="remove")(remove)
    app.add_typer(group, name="tag", help="Names of revisions, for labels of namespaces.")


def set_tag(
    tag: TagName,
    revision: Revision,
    overwrite: Overwrite = False,
    webhook_name: WebhookName = "",
    auto_inject_namespaces: ByDefault = False,
    skip_confirmation: Confirmed = False,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Let a tag stand for a revision: pods of namespaces with its label are injected by that."""
    from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS
    from mast.galley.core.injection.tags import deactivation
    from mast.galley.core.injection.webhooks import DEFAULT_REVISION

    async def work(api: Api) -> str:
        there = await _configurations(api)
        made = _made(
            tag, revision, there, istio_namespace, webhook_name, by_default=auto_inject_namespaces
        )
        before = _configuration_of(tag, there)
        if before is not None and not overwrite:
            raise CommandError(
                f"tag {tag!r} is there already, for revision {_revision(before)!r}",
                hint="move it with --overwrite",
            )
        if before is not None and before["metadata"]["name"] != made["metadata"]["name"]:
            raise CommandError(
                f"tag {tag!r} is in configuration {before['metadata']['name']!r}",
                hint="name that with --webhook-name, or remove the tag first",
            )
        await api.apply(MUTATING_WEBHOOK_CONFIGURATIONS, made, force=True)
        if tag == DEFAULT_REVISION:
            await _patch(api, deactivation(there))
        return _revision(before) if before is not None else ""

    if overwrite and not skip_confirmation:
        _confirm(f"New pods of namespaces with tag {tag!r} will be injected by {revision!r}.")
    moved_from = ClusterChoice(kubeconfig, context).ask(work)
    done = f"moved from revision {moved_from!r} to" if moved_from else "stands for revision"
    typer.echo(f"Revision tag {tag!r} {done} {revision!r}.")
    note(f"Namespaces use it by: kubectl label namespace NAMESPACE istio.io/rev={tag}")


def generate(
    tag: TagName,
    revision: Revision,
    overwrite: Overwrite = False,
    webhook_name: WebhookName = "",
    auto_inject_namespaces: ByDefault = False,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Print what `tag set` would store, for kubectl apply."""

    async def work(api: Api) -> Object:
        there = await _configurations(api)
        if not overwrite and _configuration_of(tag, there) is not None:
            raise CommandError(f"tag {tag!r} is there already", hint="print it with --overwrite")
        return _made(
            tag, revision, there, istio_namespace, webhook_name, by_default=auto_inject_namespaces
        )

    sys.stdout.write(dump(ClusterChoice(kubeconfig, context).ask(work), "yaml"))


def list_tags(
    output: Annotated[
        ListFormat, typer.Option("-o", "--output", help="Format of the list.")
    ] = ListFormat.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Show tags, their revisions, and the namespaces that use them."""
    found = ClusterChoice(kubeconfig, context).ask(_tags)
    if output is ListFormat.JSON:
        data = [
            {"tag": each.name, "revision": each.revision, "namespaces": list(each.namespaces)}
            for each in found
        ]
        sys.stdout.write(dump(data, "json"))
    elif found:
        plain(COLUMNS, [[each.name, each.revision, ",".join(each.namespaces)] for each in found])
    else:
        note("There are no tags.")


def remove(
    tag: TagName,
    skip_confirmation: Confirmed = False,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Remove a tag: new pods of its namespaces get no proxies any more."""
    from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS
    from mast.galley.core.injection.tags import reactivation
    from mast.galley.core.injection.webhooks import DEFAULT_REVISION

    choice = ClusterChoice(kubeconfig, context)
    own = {each.name: each for each in choice.ask(_tags)}.get(tag)
    if own is None:
        raise CommandError(f"there is no tag {tag!r}", hint="see them with: mastctl tag list")
    if own.namespaces and not skip_confirmation:
        _confirm(
            f"New pods of {len(own.namespaces)} namespace(s) with tag {tag!r} will have no proxies:"
            f" {', '.join(own.namespaces)}."
        )

    async def work(api: Api) -> None:
        there = await _configurations(api)
        found = _configuration_of(tag, there)
        if tag == DEFAULT_REVISION:  # first: to be injected twice is better than not at all
            await _patch(api, reactivation(there))
        if found is not None:
            await api.delete(MUTATING_WEBHOOK_CONFIGURATIONS, found["metadata"]["name"])

    choice.ask(work)
    typer.echo(f"Revision tag {tag!r} removed.")


async def _tags(api: Api) -> list[Tag]:
    from mast.common.kubernetes.objects import NAMESPACES
    from mast.galley.core.injection.tags import tags

    return tags(await _configurations(api), (await api.list(NAMESPACES)).objects)


async def _patch(api: Api, wanted: tuple[str, Object] | None) -> None:
    """Change a configuration by name, if there is anything to change."""
    from mast.common.kubernetes import Patch
    from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS

    if wanted is not None:
        name, change = wanted
        await api.patch(MUTATING_WEBHOOK_CONFIGURATIONS, name, change, how=Patch.STRATEGIC)


async def _configurations(api: Api) -> tuple[Object, ...]:
    from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS

    return (await api.list(MUTATING_WEBHOOK_CONFIGURATIONS)).objects


def _configuration_of(tag: str, configurations: tuple[Object, ...]) -> Object | None:
    from mast.common.kubernetes import labels_of
    from mast.galley.core.injection.tags import TAG

    return next((each for each in configurations if labels_of(each).get(TAG) == tag), None)


def _revision(configuration: Object) -> str:
    from mast.common.kubernetes import labels_of

    return labels_of(configuration).get("istio.io/rev", "")


def _made(
    tag: str,
    revision: str,
    configurations: tuple[Object, ...],
    namespace: str,
    name: str,
    *,
    by_default: bool,
) -> Object:
    from mast.galley.core.injection.tags import TagRefused, configuration

    try:
        return configuration(
            tag, revision, configurations, namespace=namespace, name=name, by_default=by_default
        )
    except TagRefused as error:
        raise CommandError(str(error)) from error


def _confirm(consequence: str) -> None:
    if not typer.confirm(f"{consequence} Proceed?", err=True):
        raise typer.Abort

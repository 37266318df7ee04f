"""What an uninstallation removes, and what is in its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mast.cli.errors import CommandError
from mast.cli.install import beside
from mast.cli.install.carrying_out import Tell
from mast.cli.install.cluster import DEFINITIONS, Kinds, forget, keep, releases
from mast.cli.install.manifests import Object, identity, name_of, ordered
from mast.cli.install.plan import objects_of
from mast.cli.install.release import LABEL, MANAGED_BY, Release
from mast.common.kubernetes import Api, Resource, labels_of
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    SECRETS,
)

if TYPE_CHECKING:
    from mast.cli.install.chart import Chart

CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
# The roots that Galley keeps in every namespace.
ROOTS: Final = "istio-ca-root-cert"
_INSTANCE: Final = "app.kubernetes.io/instance"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Releases that go, with objects in the order of their removal.

    ``users`` are namespaces whose pods they inject; ``first`` is what becomes of the release whose
    Citadel knew them, with its Deployment.
    """

    releases: list[Release]
    objects: list[Object]
    users: list[str]
    first: tuple[Release, Object] | None


async def removal(
    api: Api, namespace: str, revision: str, chart: Chart | None, *, purge: bool, force: bool
) -> Removal:
    """What goes with a revision, or, to ``purge``, with all of them.

    CommandError if there is nothing, or others need it and it is not by ``force``. ``chart`` says
    what Citadel's flags become; without one it goes on to know the revision.
    """
    there = await releases(api, namespace)
    going = [one for one in there if purge or one.revision == revision]
    if not going:
        installed = ", ".join(one.revision for one in there) or "none"
        raise CommandError(f"revision {revision!r} is not installed; installed are: {installed}")
    staying = [one for one in there if one not in going]
    namespaces = (await api.list(NAMESPACES)).objects
    configurations = (await api.list(MUTATING_WEBHOOK_CONFIGURATIONS)).objects
    if not force:
        _check(going, staying, configurations)
    kinds = Kinds(api)
    objects: list[Object] = []
    for one in going:
        labelled = await kinds.labelled(one.kinds, one.name, namespace)
        objects += [found for found in labelled if one.may_remove(found)]
    last = await _lasting(api, going, namespace) if purge else []
    first = next((one for one in staying if one.revision == "default"), None)
    known = None
    if first is not None and chart is not None:
        known = beside.forgotten(first, revision, lambda one: objects_of(chart, one))
    return Removal(
        releases=going,
        objects=[*reversed(ordered(objects)), *last],
        users=sorted(_users(going, configurations, namespaces)),
        first=known,
    )


async def carry_out(api: Api, wanted: Removal, *, tell: Tell) -> None:
    """Remove what is meant to go, webhooks before who answers them; then forget the releases."""
    kinds = Kinds(api)
    for found in wanted.objects:
        await kinds.remove(found)
        tell(f"  Removed {identity(found)}.")
    if wanted.first is not None:
        release, citadel = wanted.first
        await kinds.apply(citadel)
        await keep(api, release)
    for one in wanted.releases:
        await forget(api, one)


def _check(going: list[Release], staying: list[Release], configurations: Iterable[Object]) -> None:
    from mast.galley.core.injection.tags import tags

    revisions = {one.revision for one in going}
    for one in going:
        if staying and any(beside.is_citadel(found) for found in one.objects):
            others = ", ".join(other.revision for other in staying)
            raise CommandError(
                f"revision {one.revision!r} has the etcd and the CA of: {others}",
                hint="remove these first, or insist with --force",
            )
    named = [tag.name for tag in tags(configurations, ()) if tag.revision in revisions]
    rendered = {name_of(found) for one in going for found in one.objects}
    made = [
        name_of(found)
        for found in configurations
        if labels_of(found).get("istio.io/tag") in named and name_of(found) not in rendered
    ]
    if made:
        raise CommandError(
            f"tags stand for what is removed: {', '.join(sorted(set(named)))}; no pod of theirs"
            " could be made any more",
            hint="move or remove them (mastctl tag), or insist with --force",
        )


def _users(
    going: list[Release], configurations: Iterable[Object], namespaces: Iterable[Object]
) -> Iterator[str]:
    """Namespaces whose labels name the revisions, or tags that stand for them."""
    from mast.galley.core.injection.tags import tags

    revisions = {one.revision for one in going}
    revisions |= {tag.name for tag in tags(configurations, ()) if tag.revision in revisions}
    for found in namespaces:
        labels = labels_of(found)
        enabled = labels.get("istio-injection") == "enabled" and "default" in revisions
        if enabled or labels.get("istio.io/rev") in revisions:
            yield name_of(found)


async def _lasting(api: Api, going: list[Release], namespace: str) -> list[Object]:
    """What only goes with everything: Secrets of the bootstrap, volumes, roots, definitions."""
    secrets = (await api.list(SECRETS, namespace, labels=f"{MANAGED_BY}=mastctl")).objects
    found = [one for one in secrets if LABEL not in labels_of(one)]
    for release in going:
        labels = f"{_INSTANCE}={release.name}"
        found += (await api.list(CLAIMS, namespace, labels=labels)).objects
    roots = (await api.list(CONFIG_MAPS, fields=f"metadata.name={ROOTS}")).objects
    names = {name for release in going for name in release.definitions}
    definitions = (await api.list(DEFINITIONS)).objects
    return [*found, *roots, *(one for one in definitions if name_of(one) in names)]

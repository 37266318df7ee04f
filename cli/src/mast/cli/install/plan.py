"""What an installation would do to a cluster, before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mast.cli.errors import CommandError
from mast.cli.install import beside
from mast.cli.install.carried import carried
from mast.cli.install.chart import DEFAULT_PROFILE, Chart, Rendered
from mast.cli.install.cluster import (
    DEFINITIONS,
    Kinds,
    each,
    helm_has,
    kinds_of_definitions,
    releases,
)
from mast.cli.install.comparing import removed
from mast.cli.install.manifests import Difference, Object, differences, identity, name_of
from mast.cli.install.release import (
    DEFAULT_REVISION,
    Release,
    key_of,
    kinds_of,
    marked,
    owner_of,
    release_name,
)
from mast.cli.install.values import merged, value_at
from mast.cli.install.versions import all_lost, kubernetes_refused, step_refused, versions_of
from mast.cli.install.wishes import Wishes
from mast.common.kubernetes import Api, NotFound, Resource

DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
SERVICES: Final = Resource("", "v1", "services", "Service")

# How many fields of an object are told.
_FIELDS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user asks for.

    ``upgrade``: of a release that is there, whose values are kept unless ``reset_values``;
    ``force``: whatever is in the way.
    """

    wishes: Wishes
    namespace: str
    upgrade: bool = False
    reset_values: bool = False
    force: bool = False

    @property
    def name(self) -> str:
        """What the release is called."""
        return release_name(self.wishes.revision)


@dataclass(frozen=True, kw_only=True)
class Change:
    """An object that is there, and its fields that would change."""

    object: Object
    fields: list[Difference]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An installation that can be carried out.

    ``release`` is what will be written down, ``first`` that of another revision whose Citadel has
    to know this one, with its Deployment. ``created`` and ``changed`` is what applying does,
    ``obsolete`` what is removed.
    """

    release: Release
    rendered: Rendered
    upgrade: bool
    first: tuple[Release, Object] | None
    created: list[Object]
    changed: list[Change]
    obsolete: list[Object]

    @property
    def definitions(self) -> list[Object]:
        """The CustomResourceDefinitions that are not there yet, or otherwise."""
        found = [*self.created, *(change.object for change in self.changed)]
        return [one for one in found if one["kind"] == DEFINITIONS.kind]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.created or self.changed or self.obsolete or self.first)

    def lines(self) -> Iterator[str]:
        """What would be done, object by object."""
        yield from (f"+ {identity(made)}" for made in self.created)
        for change in self.changed:
            yield f"~ {identity(change.object)}"
            hidden = change.object["kind"] == "Secret"
            shown = [] if hidden else change.fields[:_FIELDS]
            yield from (f"    {field}" for field in shown)
            if more := len(change.fields) - len(shown):
                yield f"    {more} more"
        if self.first is not None:
            release, citadel = self.first
            yield f"~ {identity(citadel)} of {release.name}, which will know this revision"
        yield from (f"- {identity(gone)}" for gone in self.obsolete)


@dataclass(frozen=True, kw_only=True)
class _Situation:
    """What is there: the release, one of another revision with the CA, and that CA's Deployment."""

    before: Release | None
    first: Release | None
    citadel: Object | None
    services: frozenset[str]


async def planned(api: Api, chart: Chart, asked: Asked) -> Plan:
    """What an installation would do; CommandError for what is in its way."""
    version = str((await api.version()).get("gitVersion", ""))
    _refuse(kubernetes_refused(chart.kubernetes, version))
    there = await _situation(api, asked)
    wishes = _wished(chart, asked, there)
    rendered = _rendered(chart, wishes, asked, upgrade=there.before is not None)
    kinds = Kinds(api, kinds_of_definitions(rendered.definitions))
    placed = await kinds.placed(rendered.objects, asked.namespace)
    live = await each(placed, kinds.live)
    if not asked.force:
        _refuse(_strangers(live, asked), "install with --force to take it over")
    objects = [
        marked(carried(wanted, found), asked.name, asked.namespace)
        for wanted, found in zip(placed, live, strict=True)
    ]
    defined = {name_of(found): found for found in (await api.list(DEFINITIONS)).objects}
    _refuse("; ".join(all_lost(rendered.definitions, defined)), "move its objects first")
    release = Release(
        name=asked.name,
        namespace=asked.namespace,
        revision=wishes.revision,
        profile=wishes.profile,
        chart=chart.name,
        version=chart.version,
        values=wishes.values,
        objects=objects,
        definitions={name_of(one): versions_of(one) for one in rendered.definitions},
        kinds=kinds_of(objects, there.before),
        number=there.before.number + 1 if there.before else 1,
    )
    pairs = [(one, defined.get(name_of(one))) for one in rendered.definitions]
    created, changed = _survey([*pairs, *zip(objects, live, strict=True)], there.before)
    wanted_keys = {key_of(one) for one in objects}
    labelled = await kinds.labelled(release.kinds, asked.name, asked.namespace)
    return Plan(
        release=release,
        rendered=rendered,
        upgrade=there.before is not None,
        first=_telling(chart, there, release),
        created=created,
        changed=changed,
        obsolete=[
            found
            for found in labelled
            if key_of(found) not in wanted_keys and release.may_remove(found)
        ],
    )


def objects_of(chart: Chart, release: Release) -> list[Object]:
    """What a chart makes of a release's values."""
    values = merged(chart.profile(release.profile), release.values)
    return chart.rendered(values, release=release.name, namespace=release.namespace).objects


async def _situation(api: Api, asked: Asked) -> _Situation:
    found = await releases(api, asked.namespace)
    before = next((one for one in found if one.name == asked.name), None)
    if asked.upgrade and before is None:
        raise CommandError(
            f"there is no release {asked.name!r} of mastctl in {asked.namespace}",
            hint="install it with: mastctl install",
        )
    if before is None and not asked.force and await helm_has(api, asked.name, asked.namespace):
        raise CommandError(
            f"release {asked.name!r} in {asked.namespace} is Helm's",
            hint="go on with helm, or take it over with --force",
        )
    try:
        citadel = await api.get(DEPLOYMENTS, beside.CITADEL, asked.namespace)
    except NotFound:
        return _Situation(before=before, first=None, citadel=None, services=frozenset())
    owner, _ = owner_of(citadel)
    if owner in {"", asked.name}:
        return _Situation(before=before, first=None, citadel=None, services=frozenset())
    first = next((one for one in found if one.name == owner), None)
    services = (await api.list(SERVICES, asked.namespace)).objects
    return _Situation(
        before=before,
        first=first,
        citadel={**citadel, "kind": "Deployment"},
        services=frozenset(map(name_of, services)),
    )


def _wished(chart: Chart, asked: Asked, there: _Situation) -> Wishes:
    """The values of the user over those that are kept, or that a second revision needs."""
    wishes, before = asked.wishes, there.before
    if before is not None and not asked.force:
        _check_step(before, chart, asked)
    if before is not None and asked.upgrade and not asked.reset_values:
        wishes = wishes.over(Wishes(before.profile, before.values))
    elif there.citadel is not None and wishes.revision != DEFAULT_REVISION:
        below = beside.values(
            there.citadel,
            there.first,
            services=there.services,
            gateways=chart.defaults["gateways"],
            namespace=asked.namespace,
        )
        wishes = wishes.over(Wishes(values=below))
    kept = before.profile if before is not None and asked.upgrade else ""
    return replace(wishes, profile=wishes.profile or kept or DEFAULT_PROFILE)


def _check_step(before: Release, chart: Chart, asked: Asked) -> None:
    if asked.upgrade:
        _refuse(step_refused(before.version, chart.version), "insist with --force")
    elif before.version != chart.version:
        raise CommandError(
            f"{before.name} {before.version} is installed, the chart is {chart.version}",
            hint="go on with: mastctl upgrade",
        )


def _rendered(chart: Chart, wishes: Wishes, asked: Asked, *, upgrade: bool) -> Rendered:
    values = merged(chart.profile(wishes.profile), wishes.values)
    named = value_at(values, "global", "istioNamespace")
    if named and named != asked.namespace:
        raise CommandError(
            f"global.istioNamespace: {named!r}, and the release is in {asked.namespace!r}",
            hint=f"install into it with: -i {named}",
        )
    return chart.rendered(values, release=asked.name, namespace=asked.namespace, upgrade=upgrade)


def _strangers(live: Iterable[Object | None], asked: Asked) -> str:
    """What belongs to other releases, "" if nothing does."""
    for found in filter(None, live):
        name, namespace = owner_of(found)
        if name and (name, namespace) != (asked.name, asked.namespace):
            return f"{identity(found)} belongs to release {name!r} in {namespace}"
    return ""


def _survey(
    pairs: Iterable[tuple[Object, Mapping[str, Any] | None]], before: Release | None
) -> tuple[list[Object], list[Change]]:
    """Which objects are not there, and which fields of others are otherwise."""
    last = {key_of(one): one for one in (before.objects if before else ())}
    created: list[Object] = []
    changed: list[Change] = []
    for wanted, live in pairs:
        if live is None:
            created.append(wanted)
            continue
        fields = list(differences(wanted, live))
        fields += removed(last.get(key_of(wanted), {}), wanted)
        if fields:
            changed.append(Change(object=wanted, fields=fields))
    return created, changed


def _telling(chart: Chart, there: _Situation, release: Release) -> tuple[Release, Object] | None:
    """What the first revision's release becomes so that its Citadel knows this one."""
    if there.citadel is None or release.revision == DEFAULT_REVISION:
        return None
    if there.first is not None:
        return beside.told(there.first, release.revision, lambda one: objects_of(chart, one))
    if beside.knows(there.citadel, release.revision):
        return None
    name, namespace = owner_of(there.citadel)
    raise CommandError(
        f"Citadel of Helm's release {name!r} gives no certificates to {release.revision!r}",
        hint=f"helm upgrade {name} CHART -n {namespace} --reuse-values"
        f" --set 'security.revisions={{{release.revision}}}'",
    )


def _refuse(problem: str, hint: str = "") -> None:
    if problem:
        raise CommandError(problem, hint=hint)

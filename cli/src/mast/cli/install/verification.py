"""Whether what is in a cluster is what was installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from mast.cli.install.carried import carried
from mast.cli.install.carrying_out import reason
from mast.cli.install.cluster import DEFINITIONS, Kinds, each, kinds_of_definitions
from mast.cli.install.manifests import Identity, Object, differences, identity, name_of
from mast.cli.install.readiness import AWAITED, Failed, unready
from mast.cli.install.release import Release
from mast.cli.install.versions import versions_of
from mast.common.kubernetes import Api

# How many fields of an object are told.
_FIELDS = 5


@dataclass(frozen=True)
class Checked:
    """An object, and what is wrong with it: nothing, if there are no problems."""

    what: Identity
    problems: tuple[str, ...] = ()


async def verified(api: Api, release: Release) -> list[Checked]:
    """Every object of a release: there, as it was rendered, ready; and its definitions."""
    kinds = Kinds(api)
    defined = await of_definitions(api, release.definitions)
    return [*defined, *await of_objects(kinds, release.objects)]


async def of_manifest(api: Api, objects: Iterable[Object]) -> list[Checked]:
    """Every object of a manifest."""
    found = list(objects)
    definitions = [one for one in found if one["kind"] == DEFINITIONS.kind]
    others = [one for one in found if one["kind"] != DEFINITIONS.kind]
    versions = {name_of(one): versions_of(one) for one in definitions}
    kinds = Kinds(api, kinds_of_definitions(definitions))
    return [*await of_definitions(api, versions), *await of_objects(kinds, others)]


async def of_definitions(api: Api, wanted: Mapping[str, list[str]]) -> list[Checked]:
    """CustomResourceDefinitions by name, with the versions that they are to serve."""
    there = {name_of(one): one for one in (await api.list(DEFINITIONS)).objects}
    checked = []
    for name, versions in sorted(wanted.items()):
        what = Identity(DEFINITIONS.api_version, DEFINITIONS.kind, "", name)
        live = there.get(name)
        problems = ("it is missing",) if live is None else tuple(_of_definition(live, versions))
        checked.append(Checked(what, problems))
    return checked


async def of_objects(kinds: Kinds, objects: Iterable[Object]) -> list[Checked]:
    """Objects as they were rendered."""

    async def check(wanted: Object) -> Checked:
        if await kinds.find(wanted["apiVersion"], wanted["kind"]) is None:
            return Checked(identity(wanted), ("the cluster does not know its kind",))
        live = await kinds.live(wanted)
        if live is None:
            return Checked(identity(wanted), ("it is missing",))
        found = differences(carried(wanted, live), live)
        problems = [str(one) for one in islice(found, _FIELDS + 1)]
        if len(problems) > _FIELDS:
            problems[_FIELDS:] = ["more fields are otherwise"]
        if wanted["kind"] in AWAITED:
            problems += await _unready(kinds, wanted)
        return Checked(identity(wanted), tuple(problems))

    return await each(objects, check)


async def _unready(kinds: Kinds, wanted: Object) -> list[str]:
    try:
        why = await reason(kinds, wanted)
    except Failed as failure:
        why = str(failure)
    return [why] if why else []


def _of_definition(live: Object, versions: Iterable[str]) -> Iterator[str]:
    try:
        why = unready({**live, "kind": DEFINITIONS.kind})
    except Failed as failure:
        why = str(failure)
    if why:
        yield why
    for version in versions:
        if version not in versions_of(live):
            yield f"spec.versions: {', '.join(versions_of(live))}, want {version}, too"

"""Plans carried out: definitions first, then all else in Helm's order; waiting; removing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any, Final

from mast.cli.errors import CommandError
from mast.cli.install.cluster import Kinds, each, keep, kinds_of_definitions, make_namespace
from mast.cli.install.manifests import Identity, Object, identity
from mast.cli.install.plan import Plan
from mast.cli.install.readiness import AWAITED, Failed, trouble, unready
from mast.common.kubernetes import Api
from mast.common.kubernetes.objects import PODS

Tell = Callable[[str], None]

COMPONENT: Final = "app.kubernetes.io/name"
# How often the API server is asked whether things are ready.
EVERY: Final = timedelta(seconds=1)
DONE: Final = "\u2714"


async def carry_out(api: Api, plan: Plan, *, wait: bool, within: timedelta, tell: Tell) -> None:
    """Do what was planned; CommandError names the object that failed, or was not ready in time.

    The release is written down before anything is applied, so that what was begun can be gone on
    with, or removed.
    """
    kinds = Kinds(api, kinds_of_definitions(plan.rendered.definitions))
    release = plan.release
    if await make_namespace(api, release.namespace):
        tell(f"{DONE} Namespace {release.namespace} created")
    await keep(api, release)
    await each(plan.definitions, kinds.apply)
    kinds_told = f"Definitions of {len(plan.rendered.definitions)} kinds"
    await ready(kinds, {kinds_told: plan.rendered.definitions}, within, tell)
    if plan.first is not None:
        first, citadel = plan.first
        await kinds.apply(citadel)
        await keep(api, first)
        if wait:
            await ready(
                kinds, {f"Citadel for revision {release.revision}": [citadel]}, within, tell
            )
    for wanted in release.objects:
        await kinds.apply(wanted)
    tell(f"{DONE} {len(release.objects)} objects applied")
    if wait:
        await ready(kinds, components(release.objects), within, tell)
    for gone in plan.obsolete:
        await kinds.remove(gone)
        tell(f"  Removed {identity(gone)}.")
    await keep(api, replace(release, complete=True))


def components(objects: Iterable[Object]) -> dict[str, list[Object]]:
    """What is waited for, by the component that it belongs to."""
    found: dict[str, list[Object]] = {}
    for one in objects:
        if one["kind"] in AWAITED:
            labels = one["metadata"].get("labels") or {}
            title = str(labels.get(COMPONENT, one["metadata"]["name"]))
            found.setdefault(title, []).append(one)
    return dict(sorted(found.items()))


async def ready(
    kinds: Kinds, groups: Mapping[str, Iterable[Object]], within: timedelta, tell: Tell
) -> None:
    """Wait until all objects are ready, and tell of each group when it is.

    CommandError says of each object that is not ready in time why.
    """
    left = {title: list(objects) for title, objects in groups.items()}
    reasons: dict[Identity, str] = {}
    try:
        async with asyncio.timeout(within.total_seconds()):
            while left:
                reasons = await unready_of(kinds, chain.from_iterable(left.values()))
                for title, objects in list(left.items()):
                    left[title] = [one for one in objects if identity(one) in reasons]
                    if not left[title]:
                        tell(f"{DONE} {title} ready")
                        del left[title]
                if left:
                    await asyncio.sleep(EVERY.total_seconds())
    except TimeoutError:
        told = "; ".join(f"{own}: {why}" for own, why in reasons.items())
        raise CommandError(
            f"not ready after {within.total_seconds():g} s: {told or 'the cluster is too slow'}",
            hint="see what is wrong with: mastctl verify-install",
        ) from None


async def unready_of(kinds: Kinds, objects: Iterable[Object]) -> dict[Identity, str]:
    """Why objects are not ready, for those that are not; CommandError if one has failed."""

    async def judge(wanted: Object) -> tuple[Identity, str]:
        own = identity(wanted)
        try:
            return own, await reason(kinds, wanted)
        except Failed as failure:
            raise CommandError(f"{own}: {failure}") from failure

    return {own: why for own, why in await each(objects, judge) if why}


async def reason(kinds: Kinds, wanted: Object) -> str:
    """Why an object is not ready, with what its pods say; "" if it is, Failed if it never will."""
    live = await kinds.live(wanted)
    if live is None:
        return "it is not there"
    why = unready(live)
    selected = _selector(live) if why else ""
    if not selected:
        return why
    pods = await kinds.api.list(PODS, identity(wanted).namespace, labels=selected)
    told = trouble(pods.objects)
    return f"{why}: {told}" if told else why


def _selector(live: Mapping[str, Any]) -> str:
    """How the pods of what makes them are listed; "" if they are not."""
    labels = ((live.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))

"""A cluster as installations see it: kinds by what objects say, objects there, applied, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from mast.cli.errors import CommandError
from mast.cli.install.manifests import Identity, Object, identity
from mast.cli.install.release import LABEL, TYPE, Release, read, secret, selector
from mast.common.kubernetes import (
    AlreadyExists,
    Api,
    ApiError,
    ApiFailure,
    NotFound,
    Patch,
    Resource,
)
from mast.common.kubernetes.objects import NAMESPACES, SECRETS

MANAGER: Final = "mastctl"
DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)

# How many calls are under way at once.
_AT_ONCE: Final = 8

T = TypeVar("T")
S = TypeVar("S")


@dataclass
class Kinds:
    """The kinds of a cluster, asked for once; those of ``coming`` definitions are known before."""

    api: Api
    coming: dict[tuple[str, str], Resource] = field(default_factory=dict)
    _known: dict[str, dict[str, Resource]] = field(default_factory=dict)

    async def find(self, api_version: str, kind: str) -> Resource | None:
        """How a kind is addressed; None if the cluster has none of it."""
        if api_version not in self._known:
            try:
                found = await self.api.kinds(api_version)
            except NotFound:
                found = ()
            self._known[api_version] = {each.kind: each for each in found}
        return self._known[api_version].get(kind) or self.coming.get((api_version, kind))

    async def of(self, found: Object) -> Resource:
        """How the kind of an object is addressed; CommandError if the cluster has none of it."""
        wanted = identity(found)
        resource = await self.find(wanted.api_version, wanted.kind)
        if resource is None:
            raise CommandError(
                f"{wanted}: the cluster has no {wanted.api_version} {wanted.kind}",
                hint="install what defines it, or switch it off in the values",
            )
        return resource

    async def placed(self, objects: Iterable[Object], namespace: str) -> list[Object]:
        """Objects with the namespace that they are in; CommandError for an unknown kind."""
        made = []
        for each in objects:
            metadata = dict(each["metadata"])
            if (await self.of(each)).namespaced:
                metadata.setdefault("namespace", namespace)
            else:
                metadata.pop("namespace", None)
            made.append({**each, "metadata": metadata})
        return made

    async def live(self, wanted: Object) -> Object | None:
        """What is there of an object; None if nothing is."""
        resource, own = await self.of(wanted), identity(wanted)
        with about(own):
            try:
                found = await self.api.get(resource, own.name, own.namespace)
            except NotFound:
                return None
        return {**found, "apiVersion": resource.api_version, "kind": resource.kind}

    async def apply(self, wanted: Object) -> Object:
        """Make an object have these fields, whoever had them; returns it as it is."""
        with about(identity(wanted)):
            made = await self.api.apply(await self.of(wanted), wanted, force=True, manager=MANAGER)
        return {**made, "apiVersion": wanted["apiVersion"], "kind": wanted["kind"]}

    async def labelled(
        self, kinds: Iterable[Sequence[str]], name: str, namespace: str
    ) -> list[Object]:
        """All objects of these kinds that carry the labels of a release."""
        found: list[Object] = []
        for api_version, kind in kinds:
            resource = await self.find(api_version, kind)
            if resource is None:
                continue
            try:
                listed = await self.api.list(resource, labels=selector(name, namespace))
            except NotFound:  # its definition is not there yet
                continue
            found += listed.objects
        return found

    async def remove(self, found: Object) -> None:
        """Delete the very object, and what it owns; nothing if it is gone already."""
        own = identity(found)
        with about(own):
            try:
                await self.api.delete(
                    await self.of(found),
                    own.name,
                    own.namespace,
                    uid=found["metadata"]["uid"],
                    propagation="Background",
                )
            except NotFound:
                return


@contextmanager
def about(what: Identity) -> Iterator[None]:
    """What the API server refuses, told with the object that it is about."""
    try:
        yield
    except ApiFailure as error:
        raise CommandError(f"{what}: {error}") from error


async def each(items: Iterable[S], work: Callable[[S], Awaitable[T]]) -> list[T]:
    """What ``work`` returns for each item, some at once; the first failure ends it."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def limited(item: S) -> T:
        async with limit:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(limited(item)) for item in items]
    except* CommandError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def kinds_of_definitions(definitions: Iterable[Object]) -> dict[tuple[str, str], Resource]:
    """The kinds that CustomResourceDefinitions define, by apiVersion and kind."""
    found = {}
    for definition in definitions:
        spec = definition["spec"]
        names, namespaced = spec["names"], spec["scope"] == "Namespaced"
        for version in spec["versions"]:
            resource = Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=namespaced,
            )
            if version.get("served", True):
                found[resource.api_version, resource.kind] = resource
    return found


async def releases(api: Api, namespace: str) -> list[Release]:
    """What mastctl installed in a namespace, that of the revision ``default`` first."""
    try:
        found = (await api.list(SECRETS, namespace, labels=LABEL)).objects
    except ApiError as error:
        raise CommandError(f"Secrets of {namespace}: {error}") from error
    try:
        return sorted(map(read, found), key=lambda each: (each.revision != "default", each.name))
    except ValueError as error:
        raise CommandError(str(error), hint="delete it, and install anew") from error


async def keep(api: Api, release: Release) -> None:
    """Write a release down; the Secret of another kind that has its name is refused."""
    wanted = secret(release)
    try:
        await api.create(SECRETS, wanted)
    except AlreadyExists:
        there = await api.get(SECRETS, release.secret, release.namespace)
        if there.get("type") != TYPE:
            raise CommandError(
                f"Secret {release.namespace}/{release.secret} is none of mastctl's",
                hint="rename or delete it",
            ) from None
        change = {"metadata": {"labels": wanted["metadata"]["labels"]}, "data": wanted["data"]}
        await api.patch(SECRETS, release.secret, change, release.namespace, how=Patch.MERGE)


async def forget(api: Api, release: Release) -> None:
    """Remove what was written down of a release."""
    try:
        await api.delete(SECRETS, release.secret, release.namespace)
    except NotFound:
        return


async def helm_has(api: Api, name: str, namespace: str) -> bool:
    """Whether Helm itself keeps a release of this name."""
    found = await api.list(SECRETS, namespace, labels=f"owner=helm,name={name}")
    return bool(found.objects)


async def make_namespace(api: Api, name: str) -> bool:
    """Make a namespace unless it is there; tells whether it was made."""
    try:
        await api.get(NAMESPACES, name)
    except NotFound:
        await api.create(NAMESPACES, {"metadata": {"name": name}})
        return True
    return False

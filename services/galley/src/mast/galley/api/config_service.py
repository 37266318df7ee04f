"""ConfigService: authorise, read and judge, call the store, translate back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog
from grpc import aio

from mast.common.etcd import Batch
from mast.common.keys import config_key
from mast.common.kinds import BY_GROUP_KIND, named
from mast.galley.api.access import Access, Use
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.api.problems import Context, aborting, messages, report
from mast.galley.core.events import Event, Events
from mast.galley.core.findings import Findings, findings
from mast.galley.core.history import Operation, Origin
from mast.galley.core.judge import Judgement, judge, read
from mast.galley.core.objects import DEFAULT_NAMESPACE, Compat, ConfigObject, Defaults
from mast.galley.core.plan import Applied, Deleted, NotFound
from mast.galley.core.problem import InvalidConfig, errors
from mast.galley.core.resources import Stored, Unreadable, reference, shown
from mast.galley.core.selection import BadSelection, Selection, selection
from mastapi.galley.v1 import config_pb2, config_pb2_grpc

log = structlog.get_logger()

SERVICE = config_pb2.DESCRIPTOR.services_by_name["ConfigService"].full_name

# Where problems leave no doubt which object is meant.
_CONTENT = frozenset({"spec", "type", "data", "stringData", "binaryData", "immutable"})


class Configs(Protocol):
    """What the service needs of the store."""

    @property
    def keeps_secrets(self) -> bool: ...

    async def apply(
        self, objects: Sequence[ConfigObject], *, dry_run: bool = False, origin: Origin
    ) -> Applied: ...

    async def delete(
        self,
        references: Mapping[str, config_pb2.ObjectRef],
        *,
        ignore_missing: bool = False,
        origin: Origin,
    ) -> Deleted: ...

    async def get(self, key: str) -> Stored | None: ...

    async def list(self, selection: Selection) -> tuple[list[Stored], int]: ...

    async def statuses(self) -> Mapping[str, bytes]: ...

    def follow(self, prefix: str) -> AsyncGenerator[Batch, None]: ...


@dataclass(frozen=True)
class ConfigService(config_pb2_grpc.ConfigServiceServicer):
    """Reads and writes configuration; see the proto for what each call promises."""

    configs: Configs
    access: Access
    metrics: GalleyMetrics
    compat: Compat = Compat.CURRENT

    async def Apply(
        self, request: config_pb2.ApplyRequest, context: Context
    ) -> config_pb2.ApplyResponse:
        await self.access.insist(context, Use.READ if request.dry_run else Use.WRITE)
        async with aborting(context):
            judged = await self._judged(request.sources, request.objects, request.default_namespace)
            judged.insist()
            applied = await self.configs.apply(
                judged.objects,
                dry_run=request.dry_run,
                origin=Origin(self.access.caller(context), Operation.APPLY),
            )
        if applied.revision:
            log.info("config.applied", revision=applied.revision, objects=len(judged.objects))
        return config_pb2.ApplyResponse(
            results=[
                config_pb2.ApplyResponse.Result(
                    object=_reference(outcome.obj),
                    action=outcome.action,
                    resource_version=_version(outcome.revision or applied.revision),
                )
                for outcome in applied.outcomes
            ],
            revision=applied.revision,
            warnings=messages(judged.warnings),
        )

    async def Delete(
        self, request: config_pb2.DeleteRequest, context: Context
    ) -> config_pb2.DeleteResponse:
        await self.access.insist(context, Use.WRITE)
        async with aborting(context):
            references = {_key(ref): ref for ref in map(_known, request.objects)}
            defaults = Defaults(request.default_namespace or DEFAULT_NAMESPACE)
            reading = read(request.sources, (), defaults)
            if errors(p for p in reading.problems if re.split(r"[.[]", p.path)[0] not in _CONTENT):
                raise InvalidConfig(reading.problems, len(reading.objects))
            references |= {obj.key: _reference(obj) for obj in reading.objects}
            deleted = await self.configs.delete(
                references,
                ignore_missing=request.ignore_missing,
                origin=Origin(self.access.caller(context), Operation.DELETE),
            )
        if deleted.revision:
            log.info("config.deleted", revision=deleted.revision, objects=len(deleted.objects))
        return config_pb2.DeleteResponse(deleted=deleted.objects, revision=deleted.revision)

    async def Get(self, request: config_pb2.GetRequest, context: Context) -> config_pb2.GetResponse:
        await self.access.insist(context, Use.READ)
        async with aborting(context):
            wanted = _known(request.object)
            found = await self.configs.get(_key(wanted))
            if found is None:
                raise NotFound(f"not found: {wanted.kind} {wanted.namespace}/{wanted.name}")
            told = await self._findings(request.findings)
            return config_pb2.GetResponse(object=_with_findings(found, told))

    async def List(
        self, request: config_pb2.ListRequest, context: Context
    ) -> config_pb2.ListResponse:
        await self.access.insist(context, Use.READ)
        async with aborting(context):
            wanted = selection(request.kinds, request.namespace, request.label_selector)
            found, revision = await self.configs.list(wanted)
            told = await self._findings(request.findings)
        objects = await asyncio.to_thread(lambda: list(_all_shown(found, told)))
        return config_pb2.ListResponse(objects=objects, revision=revision)

    async def Watch(
        self, request: config_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[config_pb2.WatchEvent]:
        await self.access.insist(context, Use.READ)
        async with aborting(context):
            wanted = selection(request.kinds, request.namespace, request.label_selector)
            events = Events(wanted)
            synced = False
            async with aclosing(self.configs.follow(wanted.prefix)) as batches:
                async for batch in batches:
                    for event in _events(events, batch):
                        yield event
                    if batch.synced and not synced:
                        synced = True
                        yield Event(type=Event.SYNCED, revision=batch.revision)

    async def Validate(
        self, request: config_pb2.ValidateRequest, context: Context
    ) -> config_pb2.ValidationReport:
        await self.access.insist(context, Use.READ)
        judged = await self._judged(request.sources, request.objects, request.default_namespace)
        return report(judged.problems, len(judged.objects))

    async def _findings(self, wanted: bool) -> Findings:
        return findings(await self.configs.statuses()) if wanted else {}

    async def _judged(
        self,
        sources: Sequence[config_pb2.Source],
        objects: Sequence[config_pb2.Object],
        namespace: str,
    ) -> Judgement:
        """In a thread: text of megabytes takes seconds."""
        defaults = self._defaults(namespace)
        judged = await asyncio.to_thread(
            lambda: judge(read(sources, objects, defaults), self.compat)
        )
        self.metrics.judged(judged)
        return judged

    def _defaults(self, namespace: str) -> Defaults:
        return Defaults(
            namespace or DEFAULT_NAMESPACE,
            secrets=self.configs.keeps_secrets,
            compat=self.compat,
        )


def _events(events: Events, batch: Batch) -> Iterator[config_pb2.WatchEvent]:
    """The events of a batch; what cannot be read is logged and left out."""
    for change in batch.changes:
        try:
            yield from events.changed(
                change.key, change.value, change.previous, change.mod_revision
            )
        except Unreadable as error:
            log.warning("config.unreadable", key=change.key, error=str(error))


def _with_findings(item: Stored, told: Findings) -> config_pb2.Object:
    found = shown(item)
    found.findings.extend(told.get(item.key, ()))
    return found


def _all_shown(items: Sequence[Stored], told: Findings) -> Iterator[config_pb2.Object]:
    for item in items:
        try:
            yield _with_findings(item, told)
        except Unreadable as error:
            log.warning("config.unreadable", key=str(item.key), error=str(error))


def _known(ref: config_pb2.ObjectRef) -> config_pb2.ObjectRef:
    """The reference with its group filled in; BadSelection if there is no such kind or no name."""
    group = ref.group
    if (group, ref.kind) not in BY_GROUP_KIND:
        meant = named(f"{group}/{ref.kind}" if group else ref.kind)
        if len(meant) > 1:
            groups = ", ".join(kind.group for kind in meant)
            raise BadSelection(f"object: kind {ref.kind!r} is of several groups: {groups}")
        if not meant:
            raise BadSelection(f"object: unknown kind {ref.kind!r} of group {group!r}")
        group = meant[0].group
    kind = BY_GROUP_KIND[group, ref.kind]
    if not ref.name:
        raise BadSelection("object: name is required")
    namespace = "" if kind.cluster_scoped else ref.namespace or DEFAULT_NAMESPACE
    return reference(kind, namespace, ref.name)


def _key(ref: config_pb2.ObjectRef) -> str:
    kind = BY_GROUP_KIND[ref.group, ref.kind]
    try:
        return config_key(kind.collection, ref.namespace, ref.name)
    except ValueError as error:
        raise BadSelection(f"object: {error}") from error


def _reference(obj: ConfigObject) -> config_pb2.ObjectRef:
    return reference(obj.kind, obj.meta.namespace, obj.meta.name)


def _version(revision: int) -> str:
    return str(revision) if revision else ""


def register(server: aio.Server, service: ConfigService) -> None:
    """Add the service to a server."""
    config_pb2_grpc.add_ConfigServiceServicer_to_server(service, server)

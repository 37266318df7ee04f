"""HistoryService: what became of configuration, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from grpc import aio

from mast.common.kinds import BY_GROUP_KIND
from mast.galley.api.access import Access, Use
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.api.problems import Context, aborting, problem
from mast.galley.core.history import (
    History,
    Operation,
    Origin,
    Past,
    newest_first,
    scope,
)
from mast.galley.core.judge import Judgement, judge, read
from mast.galley.core.objects import Compat, ConfigObject, Defaults
from mast.galley.core.plan import Applied
from mast.galley.core.resources import reference
from mast.galley.core.restoration import Restoration, as_it_was, restoration, target
from mast.galley.core.selection import BadSelection
from mastapi.galley.v1 import config_pb2, history_pb2, history_pb2_grpc

log = structlog.get_logger()

SERVICE = history_pb2.DESCRIPTOR.services_by_name["HistoryService"].full_name

_ACTIONS = {
    config_pb2.ApplyResponse.CREATED: history_pb2.ObjectChange.CREATED,
    config_pb2.ApplyResponse.UPDATED: history_pb2.ObjectChange.UPDATED,
}


class Histories(Protocol):
    """What the service needs to know of the past."""

    async def read(self) -> History: ...

    async def states(
        self, history: History, keys: Iterable[str], revision: int
    ) -> Mapping[str, Past]: ...


class Configs(Protocol):
    """What the service needs of the store."""

    async def restore(
        self,
        objects: Sequence[ConfigObject],
        gone: Mapping[str, config_pb2.ObjectRef],
        expected: Mapping[str, int],
        *,
        dry_run: bool = False,
        origin: Origin,
    ) -> tuple[Applied, Sequence[config_pb2.ObjectRef]]: ...


@dataclass(frozen=True)
class HistoryService(history_pb2_grpc.HistoryServiceServicer):
    """Tells changes and puts them back; see the proto for what each call promises."""

    configs: Configs
    histories: Histories
    access: Access
    metrics: GalleyMetrics
    compat: Compat = Compat.CURRENT

    async def History(
        self, request: history_pb2.HistoryRequest, context: Context
    ) -> history_pb2.HistoryResponse:
        await self.access.insist(context, Use.READ)
        async with aborting(context):
            wanted = scope(request.scope)
            history = await self.histories.read()
        return history_pb2.HistoryResponse(
            changes=newest_first(history, wanted, request.before, request.limit),
            revision=history.revision,
            oldest=history.oldest,
        )

    async def Diff(
        self, request: history_pb2.DiffRequest, context: Context
    ) -> history_pb2.DiffResponse:
        await self.access.insist(context, Use.READ)
        async with aborting(context):
            wanted = scope(request.scope)
            history = await self.histories.read()
            first, last = request.from_revision, request.to_revision or history.revision
            history.insist("from_revision", first)
            history.insist("to_revision", last)
            if first > last:
                raise BadSelection(f"from_revision: {first} is after to_revision, {last}")
            objects = history.touched(first, last, wanted)
            before = await self.histories.states(history, objects, first)
            after = await self.histories.states(history, objects, last)
            differences = await asyncio.to_thread(
                lambda: list(_differences(objects, before, after))
            )
        return history_pb2.DiffResponse(
            differences=differences, from_revision=first, to_revision=last
        )

    async def Rollback(
        self, request: history_pb2.RollbackRequest, context: Context
    ) -> history_pb2.RollbackResponse:
        await self.access.insist(context, Use.READ if request.dry_run else Use.WRITE)
        async with aborting(context):
            history = await self.histories.read()
            wanted = target(history, request, scope(request.scope))
            before = await self.histories.states(history, wanted.objects, wanted.revision)
            now = await self.histories.states(history, wanted.objects, history.revision)
            todo = await asyncio.to_thread(restoration, wanted.objects, before, now)
            judged = await self._judged(todo)
            judged.insist()
            author = self.access.caller(context)
            applied, deleted = await self.configs.restore(
                judged.objects,
                todo.gone,
                todo.expected,
                dry_run=request.dry_run,
                origin=Origin(author, Operation.ROLLBACK, wanted.revision),
            )
        if applied.revision:
            log.info("config.restored", revision=applied.revision, restored=wanted.revision)
        return history_pb2.RollbackResponse(
            results=_results(applied, deleted),
            revision=applied.revision,
            compared_revision=history.revision,
            skipped=todo.skipped,
            warnings=map(problem, (*judged.warnings, *todo.warnings)),
        )

    async def _judged(self, todo: Restoration) -> Judgement:
        """By today's rules: what was valid once may not be any more."""
        judged = await asyncio.to_thread(
            lambda: judge(read((), todo.objects, Defaults()), self.compat)
        )
        self.metrics.judged(judged)
        return judged


def _differences(
    objects: Mapping[str, config_pb2.ObjectRef],
    before: Mapping[str, Past],
    after: Mapping[str, Past],
) -> Iterator[history_pb2.DiffResponse.Difference]:
    """Objects that are not what they were, by key."""
    for key, ref in objects.items():
        was, became = before[key], after[key]
        if was.revision == became.revision:
            continue
        sealed = BY_GROUP_KIND[ref.group, ref.kind].sealed is not None
        difference = history_pb2.DiffResponse.Difference(object=ref, sealed=sealed)
        if not sealed:
            if was.value is not None:
                difference.before.CopyFrom(as_it_was(key, was))
            if became.value is not None:
                difference.after.CopyFrom(as_it_was(key, became))
        yield difference


def _results(
    applied: Applied, deleted: Sequence[config_pb2.ObjectRef]
) -> Iterator[history_pb2.RollbackResponse.Result]:
    for outcome in applied.outcomes:
        if outcome.action in _ACTIONS:
            obj = outcome.obj
            yield history_pb2.RollbackResponse.Result(
                object=reference(obj.kind, obj.meta.namespace, obj.meta.name),
                action=_ACTIONS[outcome.action],
            )
    for ref in deleted:
        yield history_pb2.RollbackResponse.Result(
            object=ref, action=history_pb2.ObjectChange.DELETED
        )


def register(server: aio.Server, service: HistoryService) -> None:
    """Add the service to a server."""
    history_pb2_grpc.add_HistoryServiceServicer_to_server(service, server)

"""Pods of the node, and their repair (C6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from mast.agent.core.cni.pods import Pod, arguments, reason_to_skip
from mast.agent.core.cni.repair import Remedy, is_broken, is_labelled
from mast.agent.store.cni import netns
from mast.common.kubernetes import Api, ApiFailure, NotFound, follow
from mast.common.kubernetes.objects import PODS, Object, name_of, namespace_of

log = structlog.get_logger()

# A pod may be there before the API server's cache knows it.
_ATTEMPTS, _PAUSE_SECONDS = 20, 0.5

Report = Callable[[Remedy, str], None]
"""What was done for a pod, and how it ended: ``success``, ``fail`` or ``skip``."""


async def pod(api: Api, namespace: str, name: str) -> Object:
    """A pod that is about to start; raises ApiFailure if it cannot be had."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await api.get(PODS, name, namespace)
        except ApiFailure as error:
            log.info("cni.pod_awaited", namespace=namespace, pod=name, error=str(error))
        await asyncio.sleep(_PAUSE_SECONDS)
    return await api.get(PODS, name, namespace)


@dataclass(frozen=True)
class Repair:
    """Mends pods of a node that began before there was a plugin: the first remedy of those given.

    ``label`` is what pods get in the last resort, as key and value.
    """

    api: Api
    node: str
    remedies: Sequence[Remedy]
    label: tuple[str, str]
    excluded: Sequence[str]
    native_nftables: bool
    proc: Path
    report: Report

    async def run(self) -> None:
        """Follow the node's pods, for ever."""
        following = follow(self.api, PODS, fields=f"spec.nodeName={self.node}")
        async with aclosing(following) as batches:
            async for batch in batches:
                for change in batch.changes:
                    if change.object is not None and is_broken(change.object):
                        await self._mend(change.object)

    async def _mend(self, found: Object) -> None:
        if reason_to_skip(found, self.excluded):
            return
        where = {"namespace": namespace_of(found), "pod": name_of(found)}
        for remedy in self.remedies:
            try:
                done = await self._remedy(remedy, found)
            except (ApiFailure, netns.CaptureFailed) as error:
                log.warning("cni.repair_failed", remedy=str(remedy), error=str(error), **where)
                self.report(remedy, "fail")
                continue
            self.report(remedy, "success" if done else "skip")
            if done:
                log.info("cni.repaired", remedy=str(remedy), **where)
            return

    async def _remedy(self, remedy: Remedy, found: Object) -> bool:
        """Whether there was anything to do."""
        if remedy is Remedy.REPAIR:
            await self._program(found)
        elif remedy is Remedy.DELETE:
            await self._delete(found)
        else:
            if is_labelled(found, *self.label):
                return False
            key, value = self.label
            change = {"metadata": {"labels": {key: value}}}
            await self.api.patch(PODS, name_of(found), change, namespace_of(found))
        return True

    async def _program(self, found: Pod) -> None:
        place = await asyncio.to_thread(netns.of_pod, found["metadata"].get("uid", ""), self.proc)
        if not place:
            raise netns.CaptureFailed("no process of the pod is on this node")
        await netns.program(place, arguments(found, native_nftables=self.native_nftables))

    async def _delete(self, found: Object) -> None:
        try:
            uid = found["metadata"].get("uid", "")
            await self.api.delete(PODS, name_of(found), namespace_of(found), uid=uid)
        except NotFound:
            log.debug("cni.pod_gone", pod=name_of(found))

"""What injection goes by: files of the injector, the mesh's settings, the versions of nodes.

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common.etcd import Store
from mast.common.keys import collection_prefix
from mast.common.kinds import BY_GROUP_KIND, unpack
from mast.galley.core.admission import injection
from mast.galley.core.admission.review import Judge
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings, settings
from mast.galley.core.injection.trees import parsed

log = structlog.get_logger()

_MESH = BY_GROUP_KIND["mesh.istio.io", "MeshConfig"]

Object = dict[str, Any]


@dataclass
class InjectionSettings:
    """The newest settings that are good; what is not leaves the last ones in force.

    ``config_file`` is the injector's own configuration and ``values_file`` Helm's values, in Istio
    the keys of the ConfigMap ``istio-sidecar-injector``; without them there are defaults. They are
    read again after every ``poll``. ``kubelets`` are the versions of the cluster's nodes by name.
    """

    store: Store
    revision: str
    config_file: Path | None = None
    values_file: Path | None = None
    kubelets: dict[str, str] = field(default_factory=dict)
    poll: timedelta = timedelta(seconds=1)
    problem: str = "no settings yet"
    _current: Settings | None = field(default=None, init=False)
    _mesh: Object | None = field(default=None, init=False)
    _texts: tuple[str, str] | None = field(default=None, init=False)

    @property
    def ready(self) -> bool:
        """Whether pods can be injected."""
        return self._current is not None

    def judge(self, cluster: str, network: str) -> Judge | None:
        """Verdicts on pods of a caller that says where it is ("" if it does not); None so far."""
        current = self._current
        if current is None:
            return None
        told = replace(current, kubelets=tuple(sorted(set(self.kubelets.values()))))
        told = injection.for_caller(told, cluster, network)
        return partial(injection.verdict, settings=told, kubelets=self.kubelets)

    async def run(self) -> None:
        """Follow files and mesh, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_mesh(), name="injection mesh")
            tasks.create_task(self._follow_files(), name="injection files")

    async def _follow_mesh(self) -> None:
        """The oldest object counts, as for proxies."""
        found: dict[str, tuple[int, Object]] = {}
        async with aclosing(self.store.follow(collection_prefix(_MESH.collection))) as batches:
            async for batch in batches:
                for change in batch.changes:
                    found.pop(change.key, None)
                    if change.value is not None and (mesh := _mesh(change.key, change.value)):
                        found[change.key] = change.create_revision, mesh
                if batch.synced:
                    self._mesh = min(found.values(), key=lambda each: each[0], default=(0, {}))[1]
                    self._refresh()

    async def _follow_files(self) -> None:
        while True:
            try:
                texts = await asyncio.to_thread(self._read)
            except (OSError, ValueError) as error:
                self._reject(str(error))
            else:
                if texts != self._texts:
                    self._texts = texts
                    self._refresh()
            await asyncio.sleep(self.poll.total_seconds())

    def _read(self) -> tuple[str, str]:
        config, values = (
            file.read_text("utf-8") if file else "" for file in (self.config_file, self.values_file)
        )
        return config, values

    def _refresh(self) -> None:
        if self._mesh is None or self._texts is None:
            return
        revision = self.revision if self.revision != "default" else ""
        try:
            config, values = map(_object, ("injector configuration", "values"), self._texts)
            self._current = settings(self._mesh, values, config, revision=revision)
        except (InjectionRefused, ValueError) as error:
            self._reject(str(error))
            return
        self.problem = ""
        log.info("injection.settings", revision=self._current.revision)

    def _reject(self, problem: str) -> None:
        """Say so, once per change."""
        if problem != self.problem:
            log.error("injection.settings_rejected", error=problem)
        self.problem = problem


def _object(what: str, text: str) -> Object:
    try:
        found = parsed(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if not isinstance(found, dict | None):
        raise ValueError(f"{what}: want an object")
    return found or {}


def _mesh(key: str, value: bytes) -> Object | None:
    try:
        message = unpack(_MESH, Resource.FromString(value).body)
    except (DecodeError, ValueError) as error:
        log.error("injection.mesh_unreadable", key=key, error=str(error))
        return None
    found: Object = MessageToDict(message)
    return found

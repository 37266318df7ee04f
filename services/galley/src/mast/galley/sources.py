"""Puts the sources of configuration together, in their order (wiring, with main)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import random
from urllib.parse import quote

import grpc
from grpc import aio

from mast.common.latest import Latest
from mast.galley.config import KUBERNETES_SOURCE, Config
from mast.galley.core.cluster import source_of
from mast.galley.core.mcp.subscriber import Subscriber
from mast.galley.core.mesh_sources import mesh_sources
from mast.galley.core.objects import Compat, Defaults
from mast.galley.store.configs import Configs
from mast.galley.store.directory import DirectorySource
from mast.galley.store.trees import TreeKeeper
from mast.galley.store.xds import Dial, XdsSource

Credentials = Callable[[], grpc.ChannelCredentials]
Report = Callable[[str, int, int], None]


def source_name(config: Config, address: str) -> str:
    """What marks objects of a source."""
    if address == KUBERNETES_SOURCE:
        return source_of(config.cluster)
    if config.config_dir is not None:
        return config.config_dir_name
    scheme, _, place = address.partition("://")
    return f"{scheme}:{quote(place, safe=':')}"


def later_than(config: Config, address: str) -> tuple[str, ...]:
    """Names of the sources that come after one: of one key the first source counts (A2)."""
    order = config.sources
    after = order[order.index(address) + 1 :] if address in order else ()
    return tuple(source_name(config, each) for each in after)


def _earlier_than(config: Config, address: str) -> tuple[str, ...]:
    order = config.sources
    return tuple(source_name(config, each) for each in order[: order.index(address)])


def with_mesh_sources(config: Config) -> Config:
    """The settings with the ``configSources`` of the mesh's, if there is a file with these.

    Raises ValueError that names what of them cannot be followed, and OSError.
    """
    path = config.mesh_config_file
    if path is None or config.config_sources or config.config_dir:
        return config
    return replace(config, config_sources=mesh_sources(path.read_text(), str(path)))


class Trees:
    """The sources beside Kubernetes: directories, and other control planes."""

    def __init__(self, config: Config, configs: Configs, identity: str, report: Report) -> None:
        self._config = config
        self._configs = configs
        self._identity = identity
        self._report = report
        self._credentials: Latest[Credentials | None] = Latest(None)
        self._sources = [
            self._source(address) for address in config.sources if address != KUBERNETES_SOURCE
        ]

    @property
    def synced(self) -> bool:
        """Whether all of them were read and, by those that lead, stored."""
        return all(each.keeper.synced for each in self._sources)

    @property
    def facts(self) -> Mapping[str, str]:
        """What /ready tells of them."""
        if not self._sources:
            return {}
        keepers = [each.keeper for each in self._sources]
        late = [each.name for each in keepers if not each.synced]
        errors = sum(len(each.problems) for each in keepers)
        state = "in sync" if not late else f"not stored yet: {', '.join(late)}"
        return {"sources": state, "source_errors": str(errors)}

    def certified(self, credentials: Credentials) -> None:
        """From now on there is a certificate to call other control planes with."""
        self._credentials.publish(credentials)

    async def run(self) -> None:
        """Keep the store equal to them, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._sources:
                tasks.create_task(self._run(each), name=f"source {each.keeper.name}")

    async def _run(self, source: DirectorySource | XdsSource) -> None:
        if isinstance(source, XdsSource) and self._config.ca_address:
            await self._credentials.after(None)
        await source.run()

    def _source(self, address: str) -> DirectorySource | XdsSource:
        config = self._config
        keeper = TreeKeeper(
            self._configs,
            name=source_name(config, address),
            identity=self._identity,
            report=self._report,
            earlier=_earlier_than(config, address),
            later=later_than(config, address),
        )
        defaults = Defaults(
            config.default_namespace,
            secrets=self._configs.keeps_secrets,
            compat=Compat(config.compat),
        )
        scheme, _, place = address.partition("://")
        if scheme == "fs":
            return DirectorySource(keeper, Path(place), defaults)
        where = f"{config.namespace}.svc.{config.domain}"
        node = f"sidecar~127.0.0.1~{self._identity}.{config.namespace}~{where}"
        subscriber = Subscriber(node, config.revision, defaults)
        return XdsSource(keeper, subscriber, self._dial(place), random)

    def _dial(self, address: str) -> Dial:
        def dial(options: tuple[tuple[str, int], ...]) -> aio.Channel:
            credentials = self._credentials.value
            if credentials is None:
                return aio.insecure_channel(address, options)
            return aio.secure_channel(address, credentials(), options)

        return dial

"""Follows the mesh settings to other CAs, and polls their SPIFFE bundle endpoints (A8.3, A8.4).

What was fetched is kept in etcd: a replica that starts while an endpoint is away knows it, too.
Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp
import structlog
from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.core.authority import certificates, pem, pem_of
from mast.citadel.core.federation import Wanted, others, wanted
from mast.citadel.core.spiffe_bundle import MAX_BYTES, InvalidBundle, SpiffeBundle, parsed
from mast.citadel.store.bundles import Others
from mast.common import kinds
from mast.common.backoff import Backoff
from mast.common.etcd import EtcdError, Store
from mast.common.keys import CA, collection_prefix
from mast.common.latest import Latest
from mastapi.citadel.v1.citadel_pb2 import FetchedBundle

log = structlog.get_logger()

TIMEOUT = timedelta(seconds=10)
EVERY = timedelta(minutes=30)
FETCHED = f"{CA}fetched/"

_MESH_CONFIG = kinds.BY_GROUP_KIND["mesh.istio.io", "MeshConfig"].collection


class OutOfDate(Exception):
    """An endpoint told an older bundle than before."""


@dataclass(kw_only=True)
class Federation:
    """``roots`` (PEM) may vouch for endpoints beside the machine's own."""

    store: Store
    trust_domain: str
    now: Callable[[], datetime]
    random: Callable[[], float]
    roots: str = ""
    others: Latest[Others | None] = field(default_factory=lambda: Latest(None))
    """Other CAs' roots by trust domain; None before they are known."""
    _wanted: Wanted | None = None
    _read: bool = False
    _known: dict[str, FetchedBundle] = field(default_factory=dict)
    _polling: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Keep `others` as the mesh settings want them, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_fetched(), name="fetched bundles")
            async with aclosing(self.store.follow(collection_prefix(_MESH_CONFIG))) as batches:
                configs: dict[str, tuple[int, MeshConfig]] = {}
                async for batch in batches:
                    for change in batch.changes:
                        configs.pop(change.key, None)
                        if (found := _config(change.key, change.value)) is not None:
                            configs[change.key] = change.create_revision, found
                    if batch.synced:
                        self._take_over(min(configs.values(), key=_age)[1] if configs else None)
                        self._poll(tasks)

    def _take_over(self, config: MeshConfig | None) -> None:
        """The settings of the oldest object count, as for proxies."""
        want = wanted(config, self.trust_domain)
        for problem in want.problems:
            log.error("federation.rejected", problem=problem)
        self._wanted = want
        self._settle()

    def _settle(self) -> None:
        """Nothing is told before both the settings and what was fetched are known."""
        if self._wanted is None or not self._read:
            return
        known = {url: certificates(each.roots_pem) for url, each in self._known.items()}
        now = others(self._wanted, known)
        if now != self.others.value:
            self.others.publish(now)

    async def current(self) -> Others:
        """Other CAs' roots, as soon as they are known."""
        found = self.others.value
        while found is None:
            found = await self.others.after(None)
        return found

    async def _follow_fetched(self) -> None:
        """What some replica fetched last counts for all."""
        async with aclosing(self.store.follow(FETCHED)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    gone = [url for url in self._known if _key(url) == change.key]
                    if change.value is None:
                        for url in gone:
                            del self._known[url]
                        continue
                    fetched = FetchedBundle.FromString(change.value)
                    self._known[fetched.url] = fetched
                self._read = self._read or batch.synced
                self._settle()

    def _poll(self, tasks: asyncio.TaskGroup) -> None:
        """A task for each endpoint that is wanted, and none for others."""
        urls = self._wanted.fetched.keys() if self._wanted is not None else set()
        for url in self._polling.keys() - urls:
            self._polling.pop(url).cancel()
            tasks.create_task(self._forget(url), name=f"forget {url}")
        for url in urls - self._polling.keys():
            self._polling[url] = tasks.create_task(self._keep(url), name=f"poll {url}")

    async def _forget(self, url: str) -> None:
        """Whoever adds the URL again begins anew, with whatever sequence there is then."""
        try:
            await self.store.delete(_key(url))
        except EtcdError as error:
            log.warning("federation.not_forgotten", url=url, error=str(error))

    async def _keep(self, url: str) -> None:
        """Fetch a bundle again and again; failures keep the last good one."""
        backoff = Backoff(timedelta(seconds=1), timedelta(minutes=5))
        failing = False
        while True:
            try:
                bundle = await self.fetch(url)
                await self._put(url, bundle)
            except _FAILURES as error:
                if not failing:
                    log.warning("federation.failed", url=url, error=str(error) or repr(error))
                failing = True
                delay = backoff.next(self.random())
            else:
                failing = False
                backoff.reset()
                delay = min(bundle.refresh_hint or EVERY, EVERY)
            await asyncio.sleep(delay.total_seconds())

    async def fetch(self, url: str) -> SpiffeBundle:
        """The bundle at a URL. Raises one of the failures that keep the last good one."""
        limits = aiohttp.ClientTimeout(total=TIMEOUT.total_seconds())
        async with (
            aiohttp.ClientSession(timeout=limits) as http,
            http.get(url, ssl=self._context(url), allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise InvalidBundle(f"status {answer.status}")
            text = bytearray()
            async for chunk in answer.content.iter_any():
                text += chunk
                if len(text) > MAX_BYTES:
                    break
            return parsed(bytes(text))

    def _context(self, url: str) -> ssl.SSLContext:
        """Who may vouch for an endpoint: the machine's roots, ours, those given for its domains,
        and what it told last.
        """
        context = ssl.create_default_context()
        known = self._known.get(url)
        own = pem_of(self._wanted.anchors(url) if self._wanted else ()) + self.roots
        if trusted := own + (known.roots_pem if known else ""):
            context.load_verify_locations(cadata=trusted)
        return context

    async def _put(self, url: str, bundle: SpiffeBundle) -> None:
        entry = await self.store.get(_key(url))
        before = FetchedBundle.FromString(entry.value) if entry else FetchedBundle(url=url)
        if bundle.sequence is not None and bundle.sequence < before.sequence:
            raise OutOfDate(f"sequence {bundle.sequence} after {before.sequence}")
        roots_pem = pem_of(sorted(set(bundle.roots), key=pem))
        if (roots_pem, bundle.sequence or 0) == (before.roots_pem, before.sequence):
            return
        fetched = FetchedBundle(url=url, sequence=bundle.sequence or 0, roots_pem=roots_pem)
        fetched.fetched_at.FromDatetime(self.now())
        expected = entry.mod_revision if entry else 0
        await self.store.compare_and_swap(_key(url), fetched.SerializeToString(), expected)
        log.info("federation.fetched", url=url, sequence=bundle.sequence, roots=len(bundle.roots))


_FAILURES = (InvalidBundle, OutOfDate, aiohttp.ClientError, OSError, TimeoutError, EtcdError)


def _config(key: str, value: bytes | None) -> MeshConfig | None:
    if value is None:
        return None
    try:
        config = MeshConfig()
        if Resource.FromString(value).body.Unpack(config):
            return config
    except DecodeError as error:
        log.error("federation.rejected", problem=f"{key}: {error}")
    return None


def _age(found: tuple[int, MeshConfig]) -> int:
    return found[0]


def _key(url: str) -> str:
    return FETCHED + hashlib.sha256(url.encode()).hexdigest()

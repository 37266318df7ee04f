"""Wasm modules fetched by HTTP or from registries, and kept in files for Envoy (B4.4)."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
import structlog

from mast.agent.core.modules import Module, localised, wanted
from mast.agent.store import files
from mast.agent.store.registry import Registries, Unavailable, limited
from mast.common.backoff import Backoff

log = structlog.get_logger()

LIMIT: Final = 256 << 20
"""Bytes of the largest module, packed or not."""

_MAGIC: Final = b"\0asm"


@dataclass(slots=True)
class _Kept:
    """A file of a URL: the checksum it was asked by, the plugin's version, when it was used."""

    path: Path
    checksum: str
    version: str
    used: float


@dataclass
class Modules:
    """Fetches each module once; files nobody asked for during `expiry` are deleted.

    `retries` says how often a failed fetch is repeated.
    """

    directory: Path
    registries: Registries
    random: Callable[[], float]
    retries: int = 5
    expiry: timedelta = timedelta(hours=24)
    monotonic: Callable[[], float] = time.monotonic
    _known: dict[str, list[_Kept]] = field(default_factory=dict)

    async def localised(self, data: bytes, delta: bool) -> bytes:
        """A response with files in place of the modules to fetch. Raises Unavailable.

        ValueError: the bytes are no response.
        """
        modules = wanted(data, delta=delta)
        return localised(data, await self.files(modules), delta=delta) if modules else data

    async def files(self, modules: Iterable[Module]) -> Mapping[Module, str]:
        """Absolute paths of the modules' files. Raises Unavailable for the first that fails."""
        async with aiohttp.ClientSession() as http:
            found = {module: str(await self._file(http, module)) for module in modules}
        self._expire()
        return found

    async def _file(self, http: aiohttp.ClientSession, module: Module) -> Path:
        now = self.monotonic()
        for each in self._known.get(module.url, ()):
            fits = module.sha256 in {"", each.checksum}
            if (
                fits
                and each.path.exists()
                and not (module.always and each.version != module.version)
            ):
                each.used = now
                return each.path
        content, checksum = await self._repeated(http, module)
        if not content.startswith(_MAGIC):
            raise Unavailable(f"{module.url}: it is no Wasm module")
        name = hashlib.sha256(content).hexdigest()
        path = self.directory.absolute() / f"{name}.wasm"
        if not path.exists():
            await asyncio.to_thread(files.write_atomically, path, content, 0o644)
        kept = _Kept(path, checksum, module.version, now)
        others = [each for each in self._known.get(module.url, ()) if each.checksum != checksum]
        self._known[module.url] = [*others, kept]
        log.info("module.fetched", url=module.url, sha256=checksum, bytes=len(content))
        return path

    async def _repeated(self, http: aiohttp.ClientSession, module: Module) -> tuple[bytes, str]:
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=5))
        for attempt in range(self.retries + 1):
            try:
                async with asyncio.timeout(module.timeout.total_seconds()):
                    return await self._fetched(http, module)
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{module.url}: {type(error).__name__} {error}".rstrip()
            log.warning("module.unavailable", url=module.url, error=problem, attempt=attempt)
            if attempt < self.retries:
                await asyncio.sleep(backoff.next(self.random()).total_seconds())
        raise Unavailable(problem)

    async def _fetched(self, http: aiohttp.ClientSession, module: Module) -> tuple[bytes, str]:
        """The content, and the checksum that `sha256` stands for."""
        try:
            image = module.image
        except ValueError as error:
            raise Unavailable(str(error)) from error
        if image is not None:
            pulled = await self.registries.pull(http, image, module.secret, module.sha256)
            return pulled.content, pulled.digest
        async with http.get(module.url) as answer:
            if answer.status >= 500:
                answer.raise_for_status()
            if answer.status != 200:
                raise Unavailable(f"{module.url}: status {answer.status}")
            content = await limited(answer, LIMIT)
        checksum = hashlib.sha256(content).hexdigest()
        if module.sha256 not in {"", checksum}:
            raise Unavailable(f"{module.url}: sha256 is {checksum}, want {module.sha256}")
        return content, checksum

    def _expire(self) -> None:
        oldest = self.monotonic() - self.expiry.total_seconds()
        for url, entries in list(self._known.items()):
            fresh = [each for each in entries if each.used >= oldest]
            self._known[url] = fresh
            if not fresh:
                del self._known[url]
        live = {each.path for entries in self._known.values() for each in entries}
        for path in self.directory.absolute().glob("*.wasm"):
            if path not in live and self._is_stale(path):
                path.unlink(missing_ok=True)

    def _is_stale(self, path: Path) -> bool:
        """A file of an earlier run of the agent: an Envoy may still need it for a while."""
        age = time.clock_gettime(time.CLOCK_REALTIME) - path.stat().st_mtime
        return age > self.expiry.total_seconds()

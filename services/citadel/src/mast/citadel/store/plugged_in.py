"""The directory with the operator's own CA, read again while serving (A1, A8.2).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from mast.citadel.core.authority import Authority
from mast.citadel.core.plugged_in import (
    ALL_FILES,
    InvalidPluggedInCa,
    plugged_in,
    refused_reload,
)
from mast.citadel.core.records import record

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class PluggedInAuthority:
    """Reads the authority in ``directory`` (``ROOT_CA_DIR``)."""

    directory: Path
    trust_domain: str
    now: Callable[[], datetime]
    multiroot: bool = False
    more_roots: tuple[x509.Certificate, ...] = ()
    interval: timedelta = timedelta(seconds=1)
    debounce: timedelta = timedelta(milliseconds=100)

    def load(self) -> Authority | None:
        """The authority in the directory, None if it holds no CA.

        Raises InvalidPluggedInCa with everything that is wrong with it.
        """
        return self._authority(self._read())

    async def changes(self, current: Authority) -> AsyncGenerator[Authority, None]:
        """``current``, then every authority that replaces it in the directory.

        One that is not usable, or whose roots may not take over, is logged once and left out.
        """
        yield current
        seen: Mapping[str, bytes] | None = None  # the directory may have changed since the load
        while True:
            seen = await self._settled(seen)
            if (new := self._replacement(current, seen)) is not None:
                current = new
                yield current

    async def _settled(self, seen: Mapping[str, bytes] | None) -> Mapping[str, bytes]:
        """The files, once they differ from ``seen`` and nobody is writing them any more."""
        while True:
            await asyncio.sleep(self.interval.total_seconds())
            files = self._read()
            if files != seen:
                await asyncio.sleep(self.debounce.total_seconds())
                if self._read() == files:
                    return files

    def _replacement(self, current: Authority, files: Mapping[str, bytes]) -> Authority | None:
        try:
            new = self._authority(files)
        except InvalidPluggedInCa as error:
            log.error("authority.rejected", directory=str(self.directory), error=str(error))
            return None
        if new is None:
            log.error("authority.missing", directory=str(self.directory))
            return None
        if record(new) == record(current) and new.crl_pem == current.crl_pem:
            return None
        if problem := refused_reload(current, new, multiroot=self.multiroot):
            log.error("authority.rejected", directory=str(self.directory), error=problem)
            return None
        return new

    def _read(self) -> Mapping[str, bytes]:
        files: dict[str, bytes] = {}
        for name in ALL_FILES:
            try:
                files[name] = (self.directory / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        return files

    def _authority(self, files: Mapping[str, bytes]) -> Authority | None:
        return plugged_in(files, self.trust_domain, now=self.now(), more_roots=self.more_roots)

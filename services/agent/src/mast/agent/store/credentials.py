"""Where the workload's secrets come from, and when they change: Citadel or files (B3)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.agent.core import secrets
from mast.agent.store import files
from mast.agent.store.key_pairs import BadKeyPair, Mounted, read_pair, write_pair
from mast.common.ca_client import KeyPair, WorkloadCertificates
from mast.common.latest import Latest

log = structlog.get_logger()

RETRY = timedelta(milliseconds=500)
RETRIES = 20
"""A pair that does not match is read again for 10 s: it may be half replaced (B3.5)."""


@dataclass(frozen=True)
class Identity:
    """The workload's secrets at one time, all PEM; ``roots`` is the bundle that SDS serves."""

    chain: bytes
    key: bytes
    roots: bytes


@dataclass(kw_only=True)
class Credentials:
    """The only writer of the workload's secrets.

    ``publish`` gives them to Envoy in the order in which it gets them: roots go first, so that
    no certificate arrives before the root that vouches for it. ``mesh_roots`` are PEM bundles
    that the mesh trusts beside the workload's own roots. ``output`` is a directory that gets
    copies, with file mode ``output_mode``.
    """

    publish: Callable[[Sequence[Secret]], Awaitable[None]]
    mesh_roots: Latest[tuple[bytes, ...]]
    revocations: str
    debounce: timedelta
    output: str = ""
    output_mode: int = 0o600
    failed: Callable[[], None] = lambda: None
    identity: Latest[Identity | None] = field(default_factory=lambda: Latest(None))
    _revoked: bytes = field(default=b"", init=False)

    async def follow_ca(self, certificates: WorkloadCertificates) -> None:
        """Serve what Citadel signs; new mesh roots also ask for a new certificate (B3.4)."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._each_certificate(certificates), name="certificate-changes")
            tasks.create_task(self._each_bundle(certificates), name="bundle-changes")
            tasks.create_task(self._each_revocation(certificates), name="revocation-changes")

    async def follow_directory(self, mounted: Mounted) -> None:
        """Serve the files of a directory and every change of them; no CA is asked."""
        chain_file, key_file, root_file = mounted.files
        watched = (*mounted.files, self.revocations)
        async for pair in self._pairs(chain_file, key_file, watched):
            roots = _root_certificates(root_file)
            await self._offer(Identity(*pair, secrets.bundle([roots, *self.mesh_roots.value])))

    async def follow_files(self, wanted: Latest[frozenset[str]]) -> None:
        """Serve ``file-cert:`` and ``file-root:`` secrets from when they are first asked for."""
        followed: frozenset[str] = frozenset()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in sorted(wanted.value - followed):
                    tasks.create_task(self._follow_file(name), name=f"secret-{name}")
                followed |= wanted.value
                await wanted.after(wanted.value)

    async def _each_certificate(self, certificates: WorkloadCertificates) -> None:
        pair = None
        while True:
            pair = await certificates.changed(pair)
            await self._offer(self._of(pair))

    async def _each_bundle(self, certificates: WorkloadCertificates) -> None:
        seen = self.mesh_roots.value
        while True:
            seen = await self.mesh_roots.after(seen)
            if certificates.current is not None:
                await self._offer(self._of(certificates.current))
                certificates.renew()

    async def _each_revocation(self, certificates: WorkloadCertificates) -> None:
        watch = files.FileWatch((self.revocations,), debounce=self.debounce)
        while True:
            await watch.changed()
            if certificates.current is not None:
                await self._offer(self._of(certificates.current))

    def _of(self, pair: KeyPair) -> Identity:
        own = pair.certificate.roots_pem.encode()
        return Identity(pair.chain_pem, pair.key_pem, secrets.bundle([own, *self.mesh_roots.value]))

    async def _offer(self, identity: Identity) -> None:
        self.identity.publish(identity)
        self._copy(identity)
        await self.publish(
            [
                self._validation(secrets.ROOTS, identity.roots),
                secrets.certificate(secrets.CERTIFICATE, identity.chain, identity.key),
            ]
        )

    def _copy(self, identity: Identity) -> None:
        """Write copies for others. A full disk costs them, not the workload."""
        if not self.output:
            return
        pems = (identity.chain, identity.key, identity.roots)
        try:
            write_pair(Path(self.output), *pems, self.output_mode)
        except OSError as error:
            self.failed()
            log.error("certificate.not_written", directory=self.output, error=str(error))

    def _validation(self, name: str, roots: bytes, revoked: bytes = b"") -> Secret:
        """Roots with their own revocations and the mesh's; unreadable ones leave the last ones."""
        try:
            self._revoked = files.read_if_there(self.revocations) or b""
        except OSError as error:
            self.failed()
            log.error("revocations.unavailable", file=self.revocations, error=str(error))
        return secrets.validation(name, roots, b"\n".join(filter(None, (revoked, self._revoked))))

    async def _follow_file(self, name: str) -> None:
        what = secrets.secret_name(name)
        if isinstance(what, secrets.CertificateFiles):
            async for chain, key in self._pairs(what.chain, what.key, (what.chain, what.key)):
                await self.publish([secrets.certificate(name, chain, key)])
        elif isinstance(what, secrets.RootFile):
            wanted = tuple(filter(None, (what.path, what.revocations)))
            async for roots, *revoked in self._contents(wanted):
                await self.publish([self._validation(name, roots, b"".join(revoked))])

    async def _contents(self, paths: Sequence[str]) -> AsyncIterator[Sequence[bytes]]:
        """The contents of files, at first and after each change of them or the mesh's CRL.

        None without the others: roots whose revocations are missing must not be trusted.
        """
        watch = files.FileWatch((*paths, self.revocations), debounce=self.debounce)
        while True:
            contents = [content for path in paths if (content := self._content(path))]
            if len(contents) == len(paths):
                yield contents
            await watch.changed()

    def _content(self, path: str) -> bytes | None:
        try:
            content = files.read_if_there(path)
            problem = "no such file, or empty"
        except OSError as error:
            content, problem = None, str(error)
        if not content:
            self.failed()
            log.warning("secret.unavailable", file=path, error=problem)
        return content

    async def _pairs(
        self, chain: str, key: str, watched: Sequence[str]
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """The pair in two files, at first and after each change; only pairs that match."""
        watch = files.FileWatch(watched, debounce=self.debounce)
        while True:
            for attempt in range(RETRIES):
                try:
                    pair = read_pair(chain, key)
                except BadKeyPair as error:
                    if attempt == 0:
                        self.failed()
                        log.warning("secret.unavailable", file=chain, error=str(error))
                    await asyncio.sleep(RETRY.total_seconds())
                else:
                    yield pair
                    break
            else:
                log.error("secret.given_up", file=chain, until="the files change")
            await watch.changed()


def _root_certificates(path: str) -> bytes:
    try:
        return files.read_if_there(path) or b""
    except OSError as error:
        log.error("secret.unavailable", file=path, error=str(error))
        return b""

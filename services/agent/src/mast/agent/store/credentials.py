"""Where the workload's secrets come from, and when they change: Citadel or files (B3)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.agent.core import anchors, secrets
from mast.agent.core.anchors import Anchors
from mast.agent.store import files
from mast.agent.store.key_pairs import BadKeyPair, Mounted, read_pair, write_pair
from mast.common.identity.ca_client import WorkloadCertificates
from mast.common.latest import Latest
from mastapi.trust.v1.trust_pb2 import TrustBundle

log = structlog.get_logger()

RETRY = timedelta(milliseconds=500)
RETRIES = 20
"""A pair that does not match is read again for 10 s: it may be half replaced (B3.5)."""


SPREAD = timedelta(seconds=10)
"""New roots ask every workload of the mesh for a new certificate: not in the same moment."""

AGAIN = timedelta(seconds=1)
"""A certificate that replaces a tainted one may be tainted, too: not all replicas know at once."""


@dataclass(frozen=True)
class Identity:
    """The workload's secrets at one time, all PEM; ``roots`` are those of its own trust domain."""

    chain: bytes
    key: bytes
    roots: bytes


@dataclass(kw_only=True)
class Credentials:
    """The only writer of the workload's secrets.

    ``publish`` gives them to Envoy in the order in which it gets them: roots go first, so that
    no certificate arrives before the root that vouches for it; ``confirmed`` waits until Envoy
    has the one of a name, and gives its reason if it rejects it. ``configured`` are PEM bundles
    that the operator trusts, ``mesh_roots`` those that ProxyConfig tells, beside the workload's
    own roots. ``output`` is a directory that gets copies, with file mode ``output_mode``.
    ``failed`` counts secrets in files that cannot be used, ``watch_failed`` files that cannot be
    watched.
    """

    publish: Callable[[Sequence[Secret]], Awaitable[None]]
    confirmed: Callable[[str], Awaitable[str]]
    trust_domain: str
    configured: tuple[bytes, ...]
    mesh_roots: Latest[tuple[bytes, ...]]
    revocations: str
    debounce: timedelta
    output: str = ""
    output_mode: int = 0o600
    failed: Callable[[], None] = lambda: None
    watch_failed: Callable[[], None] = lambda: None
    random: Callable[[], float] = lambda: 0.0
    identity: Latest[Identity | None] = field(default_factory=lambda: Latest(None))
    _revoked: bytes = field(default=b"", init=False)
    _own: tuple[bytes, bytes, bytes] | None = field(default=None, init=False)
    """Chain, key, and the roots that came with them."""
    _bundles: Mapping[str, TrustBundle] = field(default_factory=dict, init=False)
    _newer: bytes = field(default=b"", init=False)
    """Roots that came with a certificate after the bundles."""
    _mounted: bytes = field(default=b"", init=False)
    """Roots of a directory that gives the identity: they count whatever the mesh says."""
    _certificates: WorkloadCertificates | None = field(default=None, init=False)
    _renewal: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _offering: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def follow_ca(self, certificates: WorkloadCertificates) -> None:
        """Serve what Citadel signs; new mesh roots also ask for a new certificate (B3.4)."""
        self._certificates = certificates
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._each_renewal(certificates), name="spread-renewals")
            tasks.create_task(self._each_certificate(certificates), name="certificate-changes")
            tasks.create_task(self._each_bundle(certificates), name="bundle-changes")
            tasks.create_task(self._each_revocation(certificates), name="revocation-changes")

    async def follow_directory(self, mounted: Mounted) -> None:
        """Serve the files of a directory and every change of them; no CA is asked."""
        chain_file, key_file, root_file = mounted.files
        watched = (*mounted.files, self.revocations)
        async for pair in self._pairs(chain_file, key_file, watched):
            self._mounted = _root_certificates(root_file)
            await self._hold(*pair, self._mounted)

    async def trust(self, bundles: Mapping[str, TrustBundle]) -> str:
        """Take over what the mesh says of who vouches for whom (A8.3, A8.5).

        Returns when Envoy verifies by it and no certificate of a tainted root is in use any more;
        the reason if Envoy rejects it. Whoever hears of that may rely on it.
        """
        before = self._anchors.roots
        self._bundles, self._newer = bundles, b""
        now = self._anchors
        await self._offer()
        if problem := await self.confirmed(secrets.ROOTS):
            return problem
        if self._is_tainted:
            await self._replace()
        elif self._own is not None and now.roots != before:
            self._renewal.set()
        return ""

    @property
    def _is_tainted(self) -> bool:
        return self._own is not None and anchors.is_issued_by(self._own[0], self._anchors.tainted)

    async def _replace(self) -> None:
        """Have another certificate instead of one under a tainted root, whatever it takes."""
        log.warning("certificate.tainted", replaced=self._certificates is not None)
        while self._is_tainted:
            held = self.identity.value
            if self._certificates is not None:
                self._certificates.renew()
            await self.identity.after(held)
            if self._is_tainted:
                await asyncio.sleep(AGAIN.total_seconds())
        await self.confirmed(secrets.CERTIFICATE)
        log.info("certificate.replaced")

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
            roots = pair.certificate.roots_pem.encode()
            await self._hold(pair.chain_pem, pair.key_pem, roots)

    async def _each_renewal(self, certificates: WorkloadCertificates) -> None:
        while True:
            await self._renewal.wait()
            await asyncio.sleep(SPREAD.total_seconds() * self.random())
            self._renewal.clear()
            certificates.renew()

    async def _each_bundle(self, certificates: WorkloadCertificates) -> None:
        seen = self.mesh_roots.value
        while True:
            seen = await self.mesh_roots.after(seen)
            if certificates.current is not None:
                await self._offer()
                certificates.renew()

    async def _each_revocation(self, certificates: WorkloadCertificates) -> None:
        watch = self._watch((self.revocations,))
        while True:
            await watch.changed()
            await self._offer()

    async def _hold(self, chain: bytes, key: bytes, roots: bytes) -> None:
        self._own, self._newer = (chain, key, roots), roots
        await self._offer()

    @property
    def _anchors(self) -> Anchors:
        told = (self._own[2], *self.mesh_roots.value) if self._own is not None else ()
        configured = (*self.configured, self._mounted)
        return Anchors(self.trust_domain, self._bundles, configured, told, (self._newer,))

    async def _offer(self) -> None:
        """Give Envoy what holds now; one after the other, or an older state might come last."""
        async with self._offering:
            if self._own is None:
                return
            chain, key, _ = self._own
            trusted = self._anchors
            identity = Identity(chain, key, trusted.roots)
            self.identity.publish(identity)
            self._copy(identity)
            await self.publish(
                [
                    anchors.validation(secrets.ROOTS, trusted, self._revocations()),
                    secrets.certificate(secrets.CERTIFICATE, chain, key),
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
        """Roots with their own revocations and the mesh's."""
        known = self._revocations()
        return secrets.validation(name, roots, b"\n".join(filter(None, (revoked, known))))

    def _revocations(self) -> bytes:
        """The revocations of the file; if it is unreadable, what it held before."""
        try:
            self._revoked = files.read_if_there(self.revocations) or b""
        except OSError as error:
            self.failed()
            log.error("revocations.unavailable", file=self.revocations, error=str(error))
        return self._revoked

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
        watch = self._watch((*paths, self.revocations))
        while True:
            contents = [content for path in paths if (content := self._content(path))]
            if len(contents) == len(paths):
                yield contents
            await watch.changed()

    def _watch(self, paths: Sequence[str]) -> files.FileWatch:
        return files.FileWatch(paths, debounce=self.debounce, failed=self.watch_failed)

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
        watch = self._watch(watched)
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

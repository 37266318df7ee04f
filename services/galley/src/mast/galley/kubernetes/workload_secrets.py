"""Keeps a Secret with key and certificate for every service account, as Citadel 1.4 did (A10).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from mast.common.etcd import Store
from mast.common.identity.ca_client import Algorithm, CaError, Certificate, new_key_and_csr
from mast.common.identity.spiffe import SpiffeId
from mast.common.kubernetes import AlreadyExists, Api, ApiFailure, Change, NotFound
from mast.common.kubernetes.objects import NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from mast.common.latest import Latest
from mast.galley.core.root_maps import Trust
from mast.galley.core.workload_secrets import (
    TYPE,
    SecretPolicy,
    account_of,
    is_managed,
    new_secret,
    secret_name,
    why_anew,
)
from mast.galley.kubernetes.metrics import SecretMetrics
from mast.galley.kubernetes.mirror import Mirror
from mast.galley.kubernetes.trust import follow_trust
from mast.galley.kubernetes.work import Work

log = structlog.get_logger()

Sign = Callable[[SpiffeId, bytes, timedelta], Awaitable[Certificate]]
"""A certificate for an identity that is not ours, by CSR; raises CaError or OSError."""

Account = tuple[str, str]


@dataclass
class WorkloadSecrets:
    """One process of the mesh does this at a time: whoever leads."""

    api: Api
    store: Store
    trust_domain: str
    policy: SecretPolicy
    sign: Sign
    now: Callable[[], datetime]
    random: Callable[[], float]
    metrics: SecretMetrics
    algorithm: Algorithm = "RSA2048"
    pkcs8: bool = False
    resync: timedelta = timedelta(minutes=1)
    _trust: Latest[Trust | None] = field(default_factory=lambda: Latest(None), init=False)

    async def run(self) -> None:
        """Keep the Secrets of all accounts as they should be, for ever."""
        self._work: Work[Account] = Work(
            "workload_secrets", self._keep, (ApiFailure, CaError, OSError), self.random
        )
        self._namespaces = Mirror(self.api, NAMESPACES, self._namespace_changed)
        self._accounts = Mirror(self.api, SERVICE_ACCOUNTS, self._account_changed)
        self._secrets = Mirror(self.api, SECRETS, self._secret_changed, fields=f"type={TYPE}")
        mirrors = (self._namespaces, self._accounts, self._secrets)
        async with asyncio.TaskGroup() as tasks:
            for mirror in mirrors:
                tasks.create_task(mirror.run(), name="workload secrets mirror")
            following = follow_trust(self.store, self.trust_domain, self._trust, self._everything)
            tasks.create_task(following, name="workload secrets trust")
            for mirror in mirrors:
                await mirror.synced.wait()
            tasks.create_task(self._work.run(), name="workload secrets work")
            while True:
                self._everything()
                await asyncio.sleep(self.resync.total_seconds())

    def _everything(self) -> None:
        """Look at every account, and at every Secret whose account may be gone."""
        for account in self._accounts:
            metadata = account["metadata"]
            self._work.add((metadata["namespace"], metadata["name"]))
        for secret in self._secrets:
            if name := account_of(secret):
                self._work.add((secret["metadata"]["namespace"], name))

    def _namespace_changed(self, change: Change) -> None:
        for account in self._accounts:
            if account["metadata"]["namespace"] == change.name:
                self._work.add((change.name, account["metadata"]["name"]))

    def _account_changed(self, change: Change) -> None:
        self._work.add((change.namespace, change.name))

    def _secret_changed(self, change: Change) -> None:
        if change.object is None and change.previous is not None:
            if name := account_of(change.previous):
                if self._accounts.get(change.namespace, name) is not None:
                    self.metrics.secret_deleted()
                self._work.add((change.namespace, name))
        elif change.object is not None and (name := account_of(change.object)):
            self._work.add((change.namespace, name))

    async def _keep(self, key: Account) -> None:
        namespace, account = key
        secret = self._secrets.get(namespace, secret_name(account))
        if self._accounts.get(namespace, account) is None:
            if secret is not None:
                await self._remove(namespace, account)
            return
        home, trust = self._namespaces.get("", namespace), self._trust.value
        if home is None or trust is None or not is_managed(home, self.policy):
            return
        roots = trust.roots_pem.encode()
        if reason := why_anew(secret, roots, self.policy, self.now()):
            await self._write(namespace, account, roots, reason, exists=secret is not None)

    async def _remove(self, namespace: str, account: str) -> None:
        try:
            await self.api.delete(SECRETS, secret_name(account), namespace)
        except NotFound:
            return
        self.metrics.account_deleted()
        log.info("workload_secret.removed", namespace=namespace, account=account)

    async def _write(
        self, namespace: str, account: str, roots: bytes, reason: str, *, exists: bool
    ) -> None:
        try:
            identity = SpiffeId(self.trust_domain, namespace, account)
        except ValueError as error:
            self.metrics.csr_failed()
            log.error("workload_secret.impossible", namespace=namespace, error=str(error))
            return
        key, csr = await asyncio.to_thread(
            new_key_and_csr, str(identity), self.algorithm, pkcs8=self.pkcs8
        )
        try:
            certificate = await self.sign(identity, csr, self.policy.ttl)
        except CaError as error:
            self.metrics.signing_failed(error.code.name)
            raise
        chain = "".join(certificate.chain_pem).encode()
        made = new_secret(namespace, account, chain=chain, key=key, roots=roots)
        if exists:
            await self.api.update(SECRETS, made)
        else:
            try:
                await self.api.create(SECRETS, made)
            except AlreadyExists:
                # Of another kind, or made while we did: then the mirror is about to tell.
                log.warning("workload_secret.taken", namespace=namespace, account=account)
                return
            self.metrics.account_created()
        log.info("workload_secret.written", namespace=namespace, account=account, reason=reason)

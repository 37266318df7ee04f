"""Puts together who is recognised at which way in, and who signs for whom (wiring, with main)."""

import asyncio
import ipaddress
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import random

from cryptography.x509 import Certificate

from mast.citadel.api.authenticators import (
    AdminSocket,
    Authenticator,
    ClientCertificate,
    ForwardedCertificate,
    JoinToken,
    SocketUser,
    users,
)
from mast.citadel.api.external import ExternalSigning
from mast.citadel.api.impersonating import Impersonation, node_accounts
from mast.citadel.api.issuance import Issuance, Limits
from mast.citadel.api.metrics import CitadelMetrics
from mast.citadel.api.signing import OwnSigning, Signing
from mast.citadel.api.tokens import Jwt, KubernetesToken, cluster_aliases
from mast.citadel.config import Config
from mast.citadel.core.authority import Authority, certificates
from mast.citadel.core.identity import control_plane_names
from mast.citadel.core.jwt import JwtRule, parse_rule
from mast.citadel.core.leaf import TtlPolicy
from mast.citadel.core.limits import PeerLimits
from mast.citadel.store.clusters import Clusters, clusters
from mast.citadel.store.issuer_keys import FetchedKeys, FileKeys, checked_url
from mast.citadel.store.join_tokens import JoinTokens
from mast.citadel.store.kubernetes_signer import KubernetesSigner
from mast.citadel.store.ledger import Ledger
from mast.citadel.store.signer_roots import SignerRoots
from mast.common.etcd import Store
from mast.common.identity.spiffe import SpiffeId, trust_domain
from mast.common.kubernetes import Access, Api, connect, in_cluster, kubeconfig

KUBERNETES_RA = "ISTIOD_RA_KUBERNETES_API"


@dataclass(frozen=True)
class Callers:
    """Authenticators by way in, each in the order of A5, and the issuance behind all of them."""

    tls: Sequence[Authenticator]
    network: Sequence[Authenticator]
    front: Sequence[Authenticator]
    plaintext: Sequence[Authenticator]
    workload_socket: Sequence[Authenticator]
    admin_socket: Sequence[Authenticator]
    issuance: Issuance
    ledger: Ledger


@asynccontextmanager
async def callers(
    config: Config,
    store: Store,
    metrics: CitadelMetrics,
    authority: Callable[[], Authority | None],
    now: Callable[[], datetime],
) -> AsyncIterator[Callers]:
    """Everything that recognising needs, kept up to date while the block lasts.

    Raises ValueError, OSError or InvalidAccess for settings that cannot work.
    """
    parts = _Parts(config, trust_domain(config.trust_domain), store, now)
    async with AsyncExitStack() as stack:
        api = await parts.api(stack)
        known = None
        if api is not None:
            following = clusters(api, config.cluster_id, config.namespace)
            known = await stack.enter_async_context(following)
        ledger, signers = Ledger(store, now, random), SignerRoots(store)
        issuance = parts.issuance(metrics, parts.signing(authority, api, signers), known, ledger)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(ledger.run(), name="ledger")]
        if config.external_ca:
            running.append(tasks.create_task(signers.run(), name="signer roots"))

        def run(keys: FetchedKeys) -> None:
            running.append(tasks.create_task(keys.run(), name="issuer keys"))

        try:
            yield parts.callers(parts.tokens(known, run), issuance, ledger)
        finally:
            for task in running:
                task.cancel()


def kubernetes_access(config: Config) -> Access | None:
    """How the local cluster is reached, None if none is configured; InvalidAccess says why not."""
    if config.in_cluster:
        return in_cluster(os.environ)
    if config.kubeconfig is None:
        return None
    path = config.kubeconfig
    return kubeconfig(path.read_text(), config.kube_context, base=path.parent)


def outer_roots(config: Config) -> Sequence[Certificate]:
    """The roots of the CA outside, () if only the mesh settings or its answers tell (A7).

    Mounted ones are read anew, for they are replaced. A signer that is not picked by callers is
    the cluster's own unless told otherwise: its root is in the service account.
    """
    if config.external_ca_root.exists():
        return certificates(config.external_ca_root.read_bytes())
    access = None if config.cert_signer_domain else kubernetes_access(config)
    return certificates(access.ca_pem) if access is not None else ()


@dataclass(frozen=True)
class _Parts:
    config: Config
    domain: str
    store: Store
    now: Callable[[], datetime]

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(map(trust_domain, self.config.trust_domain_aliases))

    async def api(self, stack: AsyncExitStack) -> Api | None:
        """The local cluster's API server, None if none is configured."""
        access = kubernetes_access(self.config)
        return None if access is None else await stack.enter_async_context(connect(access))

    def tokens(
        self, known: Clusters | None, run: Callable[[FetchedKeys], None]
    ) -> tuple[Sequence[Authenticator], Sequence[Authenticator]]:
        """Authenticators by token: those before XFCC, and those after it (A5)."""
        config = self.config
        first: list[Authenticator] = []
        if config.jwt_rule:
            rule = parse_rule(config.jwt_rule, config.token_audiences)
            first.append(self._jwt("OIDC JWT", rule, run))
        if known is not None:
            first.append(
                KubernetesToken(
                    self.domain,
                    known.review,
                    time.monotonic,
                    config.token_audiences,
                    config.cluster_id,
                    cluster_aliases(config.cluster_aliases),
                )
            )
        last: list[Authenticator] = [
            JoinToken(self.domain, JoinTokens(self.store).find, self.now, self.aliases)
        ]
        if config.mesh_jwt_keys is not None:
            keys = FileKeys(config.mesh_jwt_keys)
            keys.load()
            rule = JwtRule(self.domain, config.token_audiences)
            by_mesh_key = partial(Jwt, "mesh JWT", rule, keys.keys, self.domain, self.now)
            last.append(by_mesh_key(self.aliases, spiffe_ids=True))
        if config.token_issuer:
            audiences = config.audience or config.token_audiences
            last.append(self._jwt("token issuer", JwtRule(config.token_issuer, audiences), run))
        return first, last

    def _jwt(self, name: str, rule: JwtRule, run: Callable[[FetchedKeys], None]) -> Jwt:
        """A token of an issuer whose keys are fetched, unless the rule brings them."""
        config = self.config
        if not rule.jwks:
            checked_url(rule.jwks_uri or rule.issuer)
        ca_pem = config.jwt_ca_file.read_bytes() if config.jwt_ca_file else b""
        keys = FetchedKeys(rule=rule, ca_pem=ca_pem, random=random)
        run(keys)
        return Jwt(name, rule, keys.keys, self.domain, self.now, self.aliases)

    def callers(
        self,
        tokens: tuple[Sequence[Authenticator], Sequence[Authenticator]],
        issuance: Issuance,
        ledger: Ledger,
    ) -> Callers:
        """Who is recognised where."""
        config = self.config
        before, after = tokens
        networks = [ipaddress.ip_network(each) for each in config.trusted_gateway_cidr]
        forwarded = ForwardedCertificate(self.domain, networks, self.aliases)
        by_header = [forwarded] if networks else []
        in_front = [ForwardedCertificate(self.domain, (), self.aliases)]
        network = [*before, *by_header, *after]
        by_user = SocketUser(users(config.socket_identities, self.domain))
        return Callers(
            tls=(ClientCertificate(self.domain, self.aliases), *network),
            network=network,
            front=(*in_front, *before, *after),
            plaintext=network if config.xds_auth_plaintext else (),
            workload_socket=(*after, by_user),
            admin_socket=(*after, AdminSocket()),
            issuance=issuance,
            ledger=ledger,
        )

    def issuance(
        self,
        metrics: CitadelMetrics,
        signing: Signing,
        known: Clusters | None,
        ledger: Ledger,
    ) -> Issuance:
        """What every way in leads to."""
        config = self.config
        return Issuance(
            signing=signing,
            use=JoinTokens(self.store).use,
            record=ledger.record if config.record_issued else lambda _: None,
            monotonic=time.monotonic,
            metrics=metrics,
            impersonation=Impersonation(
                self.domain,
                registrars=frozenset(str(SpiffeId.parse(each)) for each in config.registrars),
                nodes=node_accounts(config.trusted_node_accounts),
                pods=known,
            ),
            dns_names=control_plane_names(config.namespace, config.custom_dns_names),
            limits=Limits(
                signing=PeerLimits(config.sign_rate, config.sign_rate),
                attestation=PeerLimits(config.attest_rate, config.attest_burst),
                identity=PeerLimits(config.identity_rate, config.identity_rate),
            ),
        )

    def signing(
        self,
        authority: Callable[[], Authority | None],
        api: Api | None,
        signers: SignerRoots,
    ) -> Signing:
        """Who signs: our CA, or a signer of the cluster."""
        config = self.config
        policy = TtlPolicy(
            config.workload_cert_ttl, config.max_workload_cert_ttl, config.sign_ca_certs
        )
        if not config.external_ca:
            return OwnSigning(
                authority=authority, now=self.now, entropy=secrets.token_bytes, policy=policy
            )
        if config.external_ca != KUBERNETES_RA:
            raise ValueError(f"external CA {config.external_ca!r}: want {KUBERNETES_RA}")
        if api is None or not (config.k8s_signer or config.cert_signer_domain):
            raise ValueError(
                f"external CA {KUBERNETES_RA}: want --in-cluster or --kubeconfig, and --k8s-signer "
                "or --cert-signer-domain"
            )
        return ExternalSigning(
            sign_at=KubernetesSigner(api, secrets.token_bytes).sign,
            roots=lambda signer: outer_roots(config) or signers.of(signer),
            signer=config.k8s_signer,
            domain=config.cert_signer_domain,
            policy=policy,
        )

"""Authenticators by tokens that others make: OIDC issuers, Kubernetes, keys of the mesh (A5).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mast.citadel.core.authn import Caller, Credentials
from mast.citadel.core.identity import own_identity
from mast.citadel.core.jwt import (
    JwtRule,
    VerifyingKey,
    service_account,
    unverified,
    verified,
)
from mast.citadel.core.refusals import Unauthenticated
from mast.citadel.core.reviews import Review, ReviewCache, Unreviewable, reviewed_pod
from mast.common.identity.spiffe import SCHEME, SpiffeId

_DOTS_OF_A_JWT = 2

GetKeys = Callable[[str], Awaitable[Sequence[VerifyingKey]]]


class Reviewer(Protocol):
    """Asks the API server of a cluster about a token; "" is the local one."""

    async def __call__(self, cluster: str, token: str, audiences: Sequence[str]) -> Review:
        """The status of the TokenReview; Unreviewable if the cluster is unknown or silent."""
        ...


@dataclass(frozen=True)
class Jwt:
    """A token that a key of the rule's issuer signed, for one of its audiences.

    ``keys`` gives the issuer's keys, newer ones if none has the id that is asked for. With
    ``spiffe_ids`` the subject may also be an identity of ours, as mesh keys write it.
    """

    name: str
    rule: JwtRule
    keys: GetKeys
    trust_domain: str
    now: Callable[[], datetime]
    aliases: Collection[str] = ()
    spiffe_ids: bool = False

    async def authenticate(self, credentials: Credentials) -> Caller:
        token = credentials.bearer_token
        if not token:
            raise Unauthenticated(f"{self.name}: none")
        try:
            stated = unverified(token)
            if stated.issuer != self.rule.issuer:
                raise Unauthenticated("JWT: of another issuer")
            claims = verified(token, await self.keys(stated.key_id), self.rule, self.now())
            identity = self._identity(claims)
        except Unauthenticated as error:
            raise Unauthenticated(f"{self.name}: {error.reason}") from error
        return Caller(self.name, (str(identity),))

    def _identity(self, claims: Mapping[str, Any]) -> SpiffeId:
        subject = claims.get("sub")
        try:
            if self.spiffe_ids and isinstance(subject, str) and subject.startswith(SCHEME):
                return own_identity(subject, self.trust_domain, self.aliases)
            return SpiffeId(self.trust_domain, *service_account(subject))
        except ValueError as error:
            raise Unauthenticated(str(error)) from error


@dataclass(frozen=True)
class KubernetesToken:
    """A service account's token, about which the API server of its cluster is asked.

    ``own_cluster`` and whatever ``cluster_aliases`` call it is the local one, and so is a caller's
    that names none.
    """

    trust_domain: str
    review: Reviewer
    monotonic: Callable[[], float]
    audiences: Sequence[str] = ("istio-ca",)
    own_cluster: str = ""
    cluster_aliases: Mapping[str, str] = field(default_factory=dict)
    cache: ReviewCache = field(default_factory=ReviewCache)

    async def authenticate(self, credentials: Credentials) -> Caller:
        token = credentials.bearer_token
        if not token:
            raise Unauthenticated("Kubernetes token: none")
        if token.count(".") != _DOTS_OF_A_JWT:
            raise Unauthenticated("Kubernetes token: no JWT")
        cluster = self._cluster(credentials.cluster)
        review = await self._reviewed(cluster, token)
        pod = reviewed_pod(review, self.audiences, cluster)
        try:
            identity = SpiffeId(self.trust_domain, pod.namespace, pod.service_account)
        except ValueError as error:
            raise Unauthenticated(f"Kubernetes token: {error}") from error
        return Caller("Kubernetes token", (str(identity),), pod=pod)

    def _cluster(self, named: str) -> str:
        meant = self.cluster_aliases.get(named, named)
        return "" if meant == self.own_cluster else meant

    async def _reviewed(self, cluster: str, token: str) -> Review:
        key = self.cache.key(cluster, token)
        known = self.cache.get(key, self.monotonic())
        if known is not None:
            return known
        try:
            review = await self.review(cluster, token, self.audiences)
        except Unreviewable as error:
            raise Unauthenticated(f"Kubernetes token: {error}") from error
        self.cache.put(key, review, self.monotonic())
        return review


def cluster_aliases(entries: Sequence[str]) -> Mapping[str, str]:
    """``CLUSTER_ALIASES``: entries ``ALIAS=CLUSTER``; ValueError names the entry."""
    found: dict[str, str] = {}
    for entry in entries:
        alias, equals, cluster = entry.partition("=")
        if not (alias and equals and cluster):
            raise ValueError(f"cluster alias {entry!r}: want ALIAS=CLUSTER")
        found[alias] = cluster
    return found

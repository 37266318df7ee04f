"""The Kubernetes clusters that Citadel may ask: about tokens and about pods (A4, A5).

The local one, and those that Secrets in the control plane's namespace describe
(galley-and-kubernetes.md D3). Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from mast.citadel.core.impersonation import Pod
from mast.citadel.core.reviews import Review, Unreviewable
from mast.common.identity.spiffe import SpiffeId
from mast.common.kubernetes import (
    Api,
    ApiFailure,
    Change,
    InvalidAccess,
    NotFound,
    Object,
    connect,
    follow,
    kubeconfig,
    name_of,
    namespace_of,
)
from mast.common.kubernetes.objects import PODS, SECRETS, TOKEN_REVIEWS

log = structlog.get_logger()

REMOTES = "istio/multiCluster=true"


@dataclass
class Clusters:
    """``local`` is ""; remotes are known by the ids that their Secrets give them.

    An id of our own, and one that another Secret took before, is not taken over.
    """

    local: Api
    own_id: str
    namespace: str
    _remotes: dict[str, tuple[str, Api]] = field(default_factory=dict, init=False)

    async def review(self, cluster: str, token: str, audiences: Sequence[str]) -> Review:
        """What the cluster's API server says of a token; Unreviewable if it says nothing."""
        body: Object = {"metadata": {}, "spec": {"token": token, "audiences": list(audiences)}}
        try:
            answer = await self._api(cluster).create(TOKEN_REVIEWS, body)
        except ApiFailure as error:
            raise Unreviewable(f"TokenReview: {error}") from error
        return _review(answer.get("status") or {})

    async def pod(self, cluster: str, namespace: str, name: str) -> Pod | None:
        """One pod, None if there is none; Unreviewable if that cannot be told."""
        try:
            return _pod(await self._api(cluster).get(PODS, name, namespace))
        except NotFound:
            return None
        except ApiFailure as error:
            raise Unreviewable(f"pod {namespace}/{name}: {error}") from error

    async def pods_on(self, cluster: str, node: str, identity: SpiffeId) -> Sequence[Pod]:
        """The pods of an account's namespace on a node that run as the account."""
        fields = f"spec.nodeName={node}"
        try:
            listing = await self._api(cluster).list(PODS, identity.namespace, fields=fields)
        except ApiFailure as error:
            raise Unreviewable(f"pods on node {node}: {error}") from error
        pods = map(_pod, listing.objects)
        return [pod for pod in pods if pod.service_account == identity.service_account]

    def _api(self, cluster: str) -> Api:
        if not cluster:
            return self.local
        if cluster not in self._remotes:
            raise Unreviewable(f"cluster {cluster!r} is not known")
        return self._remotes[cluster][1]

    async def run(self) -> None:
        """Keep the remote clusters as their Secrets say, for ever."""
        async with asyncio.TaskGroup() as tasks:
            connections: dict[str, list[asyncio.Task[None]]] = {}
            following = follow(self.local, SECRETS, self.namespace, labels=REMOTES)
            async with aclosing(following) as batches:
                async for batch in batches:
                    for change in batch.changes:
                        for old in connections.pop(change.name, []):
                            old.cancel()
                        self._forget(change.name)
                        connections[change.name] = [
                            tasks.create_task(
                                self._keep(change.name, *each), name=f"remote {each[0]}"
                            )
                            for each in self._described(change)
                        ]

    def _described(self, change: Change) -> list[tuple[str, bytes]]:
        """Cluster ids and kubeconfigs of a Secret."""
        data = (change.object or {}).get("data") or {}
        found = []
        for cluster, text in data.items():
            if cluster == self.own_id or cluster in self._remotes:
                log.warning("remote_cluster.ignored", secret=change.name, cluster=cluster)
                continue
            try:
                found.append((cluster, base64.b64decode(text, validate=True)))
            except (binascii.Error, ValueError):
                log.error("remote_cluster.rejected", secret=change.name, cluster=cluster)
        return found

    async def _keep(self, secret: str, cluster: str, config: bytes) -> None:
        try:
            async with connect(kubeconfig(config)) as api:
                self._remotes[cluster] = (secret, api)
                log.info("remote_cluster.added", secret=secret, cluster=cluster)
                await asyncio.Event().wait()
        except InvalidAccess as error:
            log.error("remote_cluster.rejected", secret=secret, cluster=cluster, error=str(error))

    def _forget(self, secret: str) -> None:
        for cluster in [c for c, (of, _) in self._remotes.items() if of == secret]:
            del self._remotes[cluster]
            log.info("remote_cluster.removed", secret=secret, cluster=cluster)


@asynccontextmanager
async def clusters(api: Api, own_id: str, namespace: str) -> AsyncIterator[Clusters]:
    """The clusters, followed while the block lasts."""
    found = Clusters(api, own_id, namespace)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(found.run(), name="clusters")
        try:
            yield found
        finally:
            following.cancel()


def _review(status: Mapping[str, Any]) -> Review:
    user = status.get("user") or {}
    extra = user.get("extra") or {}
    return Review(
        authenticated=status.get("authenticated") is True,
        username=str(user.get("username") or ""),
        groups=tuple(map(str, user.get("groups") or ())),
        audiences=tuple(map(str, status.get("audiences") or ())),
        extra={str(name): tuple(map(str, values)) for name, values in extra.items()},
        error=str(status.get("error") or ""),
    )


def _pod(found: Object) -> Pod:
    spec, status = found.get("spec") or {}, found.get("status") or {}
    return Pod(
        namespace=namespace_of(found),
        name=name_of(found),
        uid=str(found["metadata"].get("uid", "")),
        service_account=str(spec.get("serviceAccountName") or "default"),
        node=str(spec.get("nodeName") or ""),
        phase=str(status.get("phase") or ""),
    )

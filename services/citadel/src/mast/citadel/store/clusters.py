"""The Kubernetes clusters that Citadel may ask: about tokens and about pods (A4, A5).

The local one, and those that Secrets in the control plane's namespace describe
(galley-and-kubernetes.md D3). Section numbers are those of citadel-and-agent.md.
"""

import asyncio
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
from mast.common.kubernetes.remotes import (
    LABELS,
    RemoteCluster,
    RemoteClusters,
    remote_clusters,
)

log = structlog.get_logger()


@dataclass
class Clusters:
    """``local`` is ""; remotes are known by the ids that their Secrets give them.

    A kubeconfig that cannot be used leaves the one before in force.
    """

    local: Api
    own_id: str
    namespace: str
    _remotes: dict[str, Api] = field(default_factory=dict, init=False)
    _wanted: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)

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
        return self._remotes[cluster]

    async def run(self) -> None:
        """Keep the remote clusters as their Secrets say, for ever."""
        secrets: dict[str, Object] = {}
        told = RemoteClusters()
        async with asyncio.TaskGroup() as tasks:
            following = follow(self.local, SECRETS, self.namespace, labels=LABELS)
            async with aclosing(following) as batches:
                async for batch in batches:
                    for change in batch.changes:
                        secrets.pop(change.name, None)
                        if change.object is not None:
                            secrets[change.name] = change.object
                    before, told = told, remote_clusters(secrets.values(), self.own_id)
                    self._take(before, told, tasks)

    def _take(self, before: RemoteClusters, told: RemoteClusters, tasks: asyncio.TaskGroup) -> None:
        for each in told.ignored:
            if each not in before.ignored:
                log.warning(
                    "remote_cluster.ignored",
                    secret=each.secret,
                    cluster=each.cluster,
                    reason=each.reason,
                )
        for cluster in before.wanted.keys() - told.wanted.keys():
            self._wanted.pop(cluster).cancel()
            log.info("remote_cluster.removed", cluster=cluster)
        for cluster, remote in told.wanted.items():
            known = before.wanted.get(cluster)
            if known is None or known.kubeconfig != remote.kubeconfig:
                former = self._wanted.get(cluster)
                keeping = self._keep(remote, former)
                self._wanted[cluster] = tasks.create_task(keeping, name=f"remote {cluster}")

    async def _keep(self, remote: RemoteCluster, former: asyncio.Task[None] | None) -> None:
        """Reach a cluster by a kubeconfig; by the former one until this one can be used."""
        where = {"secret": remote.secret, "cluster": remote.cluster}
        try:
            access = await asyncio.to_thread(kubeconfig, remote.kubeconfig)
            async with connect(access) as api:
                self._remotes[remote.cluster] = api
                log.info("remote_cluster.added", **where)
                if former is not None:
                    former.cancel()
                await self._until_cancelled(remote.cluster, api)
        except InvalidAccess as error:
            log.error("remote_cluster.rejected", **where, error=str(error))
            if former is not None:
                await asyncio.wait([former])
        finally:
            if former is not None:
                former.cancel()

    async def _until_cancelled(self, cluster: str, api: Api) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if self._remotes.get(cluster) is api:
                del self._remotes[cluster]


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

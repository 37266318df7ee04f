"""The versions of the cluster's nodes, on which it depends how proxies are injected."""

from __future__ import annotations

from mast.common.kubernetes import Api, Change
from mast.common.kubernetes.objects import NODES
from mast.galley.kubernetes.mirror import Mirror


async def follow_kubelets(api: Api, kubelets: dict[str, str]) -> None:
    """Keep the versions by name of the node in ``kubelets``, for ever."""

    def told(change: Change) -> None:
        kubelets.pop(change.name, None)
        status = (change.object or {}).get("status") or {}
        if version := (status.get("nodeInfo") or {}).get("kubeletVersion"):
            kubelets[change.name] = version

    await Mirror(api, NODES, told).run()

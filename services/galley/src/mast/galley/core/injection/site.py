"""What a template sees: one pod, its workload, its annotations and the settings of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from mast.galley.core.injection.annotations import CONFIG, SIDECAR, STATUS_PORT, Annotations
from mast.galley.core.injection.settings import Settings, can_be_native, overlaid
from mast.galley.core.injection.values import Object
from mast.galley.core.injection.workload import Workload

PROXY: Final = "istio-proxy"
INIT: Final = "istio-init"
VALIDATION: Final = "istio-validation"
INJECTED: Final = frozenset({PROXY, INIT, VALIDATION})
"""Names of containers that are the mesh's: what a pod's author writes under them is laid over."""
READY_PORT: Final = 15021
METRICS_PORT: Final = 15090
PROXY_ID: Final = 1337


@dataclass(frozen=True, kw_only=True)
class Site:
    """``pod`` is as its author wrote it; ``kubelet`` the version of its node, if it has one yet."""

    pod: Mapping[str, Any]
    workload: Workload
    annotations: Annotations
    settings: Settings
    kubelet: str = ""

    @property
    def spec(self) -> Mapping[str, Any]:
        """The pod's spec."""
        return self.pod.get("spec") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        return (self.pod.get("metadata") or {}).get("labels") or {}

    @cached_property
    def applications(self) -> list[Object]:
        """The containers of the user's programs."""
        return [each for each in self.spec.get("containers") or () if each["name"] not in INJECTED]

    @cached_property
    def proxy_config(self) -> Object:
        """The pod's ProxyConfig: mesh < annotations of single fields < ``proxy.istio.io/config``.

        The agent reads the last one itself, too: it has to win here as it does there.
        """
        mesh = self.settings.mesh.get("defaultConfig") or {}
        single: Object = {}
        address = self.annotations.text(f"{SIDECAR}discoveryAddress")
        if address or not mesh.get("discoveryAddress"):
            single["discoveryAddress"] = address or self.settings.control_plane
        if self.annotations.number(STATUS_PORT, 0):
            single["statusPort"] = self.annotations.number(STATUS_PORT, 0)
        elif not mesh.get("statusPort") and self.settings.values.status_port not in {0, 15020}:
            single["statusPort"] = self.settings.values.status_port
        if f"{SIDECAR}statsCompression" in self.annotations.given:
            single["statsCompression"] = self.annotations.flag(f"{SIDECAR}statsCompression", True)
        own = self.annotations.config if CONFIG in self.annotations.given else {}
        return overlaid(overlaid(mesh, single), own)

    @property
    def status_port(self) -> int:
        """Where the agent tells of the proxy and its program; 0: nobody is to ask there."""
        if self.annotations.text(STATUS_PORT, "unset") == "0":
            return 0
        if not self.settings.values.status_port and not self.proxy_config.get("statusPort"):
            return 0
        return int(self.proxy_config.get("statusPort") or self.settings.values.status_port)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Variables of the agent that the ProxyConfig gives."""
        return self.proxy_config.get("proxyMetadata") or {}

    @property
    def mode(self) -> str:
        """How traffic is captured: REDIRECT, TPROXY or NONE."""
        asked = self.annotations.text(f"{SIDECAR}interceptionMode")
        return asked or str(self.proxy_config.get("interceptionMode") or "REDIRECT")

    @property
    def native(self) -> bool:
        """Whether the proxy is an init container that stays: by pod, node or cluster (C2).

        Not in a pod that has nothing else: one container has to be an ordinary one.
        """
        if not self.applications:
            return False
        default = can_be_native(self.kubelet) if self.kubelet else self.settings.native
        if self.settings.values.native != "auto":
            default = self.settings.native
        return self.annotations.flag(f"{SIDECAR}nativeSidecar", default)

    @property
    def hold(self) -> bool:
        """Whether programs start only once the proxy is ready."""
        asked = self.proxy_config.get("holdApplicationUntilProxyStarts")
        return self.settings.values.hold if asked is None else bool(asked)

    @property
    def image(self) -> str:
        """The image of the proxy."""
        given = self.annotations.text(f"{SIDECAR}proxyImage")
        return self._image(given or self.settings.values.image)

    @property
    def init_image(self) -> str:
        """The image of the containers that set capture up."""
        return self._image(self.settings.values.init_image or self.settings.values.image)

    def _image(self, name: str) -> str:
        """``name`` as it is if it holds a path, else of the mesh's registry and release."""
        if "/" in name:
            return name
        values = self.settings.values
        variant = self.annotations.text(f"{SIDECAR}proxyImageType", values.variant)
        config = (self.proxy_config.get("image") or {}).get("imageType")
        variant = str(variant or config or "")
        tag = f"{values.tag}-{variant}" if variant not in {"", "default"} else values.tag
        return f"{values.hub}/{name}:{tag}"

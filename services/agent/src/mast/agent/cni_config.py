"""What `mast-agent cni` is told: flags ``--like-this`` or variables ``CNI_LIKE_THIS``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mast.agent.core.cni.repair import Remedy


@dataclass(frozen=True, kw_only=True)
class CniConfig:
    """The agent of a node: keeps the CNI plugin installed and does what it asks for (C6)."""

    # Directories of the node, as this container sees them.
    cni_bin_dir: Path = Path("/host/opt/cni/bin")
    cni_conf_dir: Path = Path("/host/etc/cni/net.d")
    # Where the plugin finds us, as the node sees it, and as this container does.
    socket: Path = Path("/var/run/mast-cni/plugin.sock")
    socket_here: Path | None = None
    # First line of the plugin's program: a Python of the node.
    interpreter: str = "/usr/bin/env python3"
    # Pods of these namespaces are left alone, and do not wait for us.
    exclude_namespaces: tuple[str, ...] = ("kube-system",)

    # Rules by nftables itself, not by its iptables.
    native_nftables: bool = False

    # The Kubernetes API: this pod's own account, or a kubeconfig's current context.
    kubeconfig: Path | None = None
    # Processes of the node, as this container sees them.
    proc_dir: Path = Path("/proc")
    # Name of this node, and what pods of it get that began without capture: repaired, deleted,
    # labelled; of those that are switched on the first that works. Off without a node.
    node_name: str = ""
    repair_pods: bool = True
    delete_pods: bool = False
    label_pods: bool = False
    label_key: str = "cni.istio.io/uninitialized"
    label_value: str = "true"

    # host:port of /readyz, and of /metrics.
    health_listen: str = "[::]:8000"
    monitoring_listen: str = "[::]:15014"
    log_level: str = "info"
    log_format: str = "json"

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """What is done for broken pods, the gentlest first."""
        wanted = {
            Remedy.REPAIR: self.repair_pods,
            Remedy.DELETE: self.delete_pods,
            Remedy.LABEL: self.label_pods,
        }
        return tuple(remedy for remedy, on in wanted.items() if on)

"""What a workload is called in telemetry (pilot.md H2: canonical name and revision)."""

from typing import Final

from mast.pilot.core.model.proxy import Proxy

UNKNOWN: Final = "unknown"


def canonical_name(proxy: Proxy) -> str:
    """The canonical service: a label, else the name of the workload."""
    labels = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
    return _first(proxy, *labels) or proxy.text("WORKLOAD_NAME") or UNKNOWN


def canonical_revision(proxy: Proxy) -> str:
    """The canonical revision: a label, else `latest`."""
    labels = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
    return _first(proxy, *labels) or "latest"


def _first(proxy: Proxy, *names: str) -> str:
    return next((proxy.labels[name] for name in names if proxy.labels.get(name)), "")

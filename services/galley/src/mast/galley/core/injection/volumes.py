"""The proxy's files: certificates, tokens, sockets, its own directories (C2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.injection.annotations import SIDECAR
from mast.galley.core.injection.proxy import OVERRIDE_MOUNT
from mast.galley.core.injection.site import Site

Object = dict[str, Any]
Placed = tuple[Object, str]

_SECRETS = "/var/run/secrets"
_TOKEN_SECONDS = 43200


def volumes(site: Site) -> list[Object]:
    """What the pod is given."""
    own = [volume for volume, _ in _placed(site)]
    override = site.annotations.text(f"{SIDECAR}bootstrapOverride")
    if override:
        own.append({"name": "custom-bootstrap-volume", "configMap": {"name": override}})
    return [*own, *site.annotations.items(f"{SIDECAR}userVolume")]


def mounts(site: Site) -> list[Object]:
    """Where the proxy finds it."""
    own: list[Object] = [{"name": volume["name"], "mountPath": at} for volume, at in _placed(site)]
    if site.annotations.text(f"{SIDECAR}bootstrapOverride"):
        own.append({"name": "custom-bootstrap-volume", "mountPath": OVERRIDE_MOUNT})
    return [*own, *site.annotations.items(f"{SIDECAR}userVolumeMount")]


def _placed(site: Site) -> Iterator[Placed]:
    """Volumes with the directories where they are mounted."""
    yield _directory("workload-socket"), f"{_SECRETS}/workload-spiffe-uds"
    yield _directory("credential-socket"), f"{_SECRETS}/credential-uds"
    yield _directory("workload-certs"), f"{_SECRETS}/workload-spiffe-credentials"
    yield {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}, "/etc/istio/proxy"
    yield _directory("istio-data"), "/var/lib/istio/data"
    yield _pod_files(), "/etc/istio/pod"
    yield _token(), f"{_SECRETS}/tokens"
    if site.settings.values.cert_provider == "istiod":
        yield _config_map("istiod-ca-cert", "istio-ca-root-cert"), f"{_SECRETS}/istio"
    yield (
        _config_map("istio-ca-crl", "istio-ca-crl", optional=True),
        f"{_SECRETS}/istio/crl",
    )
    if site.settings.values.mounted_certs:
        account = str(site.spec.get("serviceAccountName") or "default")
        secret = {"secretName": f"istio.{account}", "optional": True}
        yield {"name": "istio-certs", "secret": secret}, "/etc/certs"


def _directory(name: str) -> Object:
    return {"name": name, "emptyDir": {}}


def _config_map(name: str, source: str, *, optional: bool = False) -> Object:
    found: Object = {"name": name, "configMap": {"name": source}}
    if optional:
        found["configMap"]["optional"] = True
    return found


def _pod_files() -> Object:
    items = [
        {"path": what, "fieldRef": {"fieldPath": f"metadata.{what}"}}
        for what in ("labels", "annotations")
    ]
    return {"name": "istio-podinfo", "downwardAPI": {"items": items}}


def _token() -> Object:
    token = {"audience": "istio-ca", "expirationSeconds": _TOKEN_SECONDS, "path": "istio-token"}
    return {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}}

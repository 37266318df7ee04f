"""The services that bindings of QuotaSpecs and HTTPAPISpecs name (mixer_proxy.md C17, C18)."""

from __future__ import annotations

from collections.abc import Iterable

from istio.mixer.v1.config.client.service_pb2 import IstioService
from mast.mixer.core.values import Value

_DOMAIN = "cluster.local"
_ANY = "*"


def names_service(services: Iterable[IstioService], namespace: str, host: Value | None) -> bool:
    """Whether a host is among the services of a binding in a namespace.

    A service is named in full or by name, namespace (the binding's own if it is left out) and
    domain; ``*`` is any, even none.
    """
    return any(
        each.service in {_ANY, host} if each.service else _full_name(each, namespace) == host
        for each in services
    )


def _full_name(service: IstioService, namespace: str) -> str:
    where = service.namespace or namespace
    return f"{service.name}.{where}.svc.{service.domain or _DOMAIN}"

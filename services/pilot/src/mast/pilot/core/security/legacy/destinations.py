"""What rules of Istio 1.0 to 1.4 know of a destination before any request comes (pilot.md J7)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import NO_LABELS, Labels, Service
from mast.pilot.core.model.proxy import Proxy

ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A service as one of its workloads serves it: what `destination.*` constraints look at.

    `host` is the full name of the service, `name` its short one, `user` the service account of the
    workload, empty if it has none.
    """

    host: str
    name: str
    namespace: str
    user: str = ""
    labels: Labels = field(default_factory=lambda: NO_LABELS)


def destination(service: Service, proxy: Proxy) -> Destination:
    """A service of a proxy's workload."""
    return Destination(
        host=service.host,
        name=short_name(service),
        namespace=service.namespace,
        user=proxy.service_account,
        labels=proxy.labels,
    )


def short_name(service: Service) -> str:
    """The name of a service within its namespace; its host if that is of no platform."""
    parts = hosts.kubernetes_parts(service.host)
    return service.name or (parts[0] if parts else service.host)


def is_named(pattern: str, host: str, namespace: str, domain: str) -> bool:
    """Whether an entry of `services` stands for a service, by its full name (Istio RBAC).

    `a*`, `*a` and `*` are taken literally. Differs from Istio: so are not short names, which are
    those of services of the namespace of the role; Istio 1.4 finds none by them.
    """
    if ANY in pattern:
        return fits(pattern, host)
    return host in hosts.full_names(pattern, namespace, domain)


def fits(pattern: str, text: str) -> bool:
    """Whether a text is the pattern, or begins or ends as `a*` or `*a` says."""
    if pattern.endswith(ANY) and text.startswith(pattern[:-1]):
        return True
    if pattern.startswith(ANY) and text.endswith(pattern[1:]):
        return True
    return pattern == text


def fits_any(patterns: Iterable[str], text: str) -> bool:
    """Whether a text is one of some patterns."""
    return any(fits(each, text) for each in patterns)

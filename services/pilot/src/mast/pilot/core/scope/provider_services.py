"""Services that entries of MeshConfig.extensionProviders name (pilot.md K5, J6)."""

from mast.pilot.core.model.model import Service, ServiceKey
from mast.pilot.core.scope.scope import Scope


def provider_service(scope: Scope, text: str) -> Service | None:
    """The service `[NAMESPACE/]HOST`, None if proxies may not see it.

    A Sidecar that leaves it out does not count. A short name needs its namespace (pilot.md C4).
    """
    namespace, _, host = text.rpartition("/")
    if not namespace:
        return scope.service(host) or scope.under(None).service(host)
    found = scope.owned_service(ServiceKey(namespace, host))
    if found is None and "." not in host:
        full = f"{host}.{namespace}.svc.{scope.mesh.domain}"
        found = scope.owned_service(ServiceKey(namespace, full))
    visible = found is not None and found.visible_to.includes(scope.namespace)
    return found if visible else None

"""Security objects of Istio 1.0 to 1.4 for tests, in namespace `shop` unless told otherwise."""

from collections.abc import Sequence

from mast.pilot.core.model.model import Labels, Port, Protocol, Service
from mast.pilot.core.security.legacy.destinations import Destination

RBAC, AUTHENTICATION = "rbac.istio.io", "authentication.istio.io"
HOST = "web.shop.svc.cluster.local"


def obj(kind: str, name: str, spec: str, namespace: str = "shop", group: str = RBAC) -> str:
    """An object in YAML; without a namespace one of the mesh."""
    where = f", namespace: {namespace}" if namespace else ""
    return (
        f"apiVersion: {group}/v1alpha1\nkind: {kind}\n"
        f"metadata: {{name: {name}{where}}}\nspec: {spec}\n---\n"
    )


def switch(spec: str = "{mode: ON}") -> str:
    """The ClusterRbacConfig that counts."""
    return obj("ClusterRbacConfig", "default", spec, "")


def role(name: str, *rules: str, namespace: str = "shop") -> str:
    """A ServiceRole."""
    return obj("ServiceRole", name, f"{{rules: [{', '.join(rules)}]}}", namespace)


def binding(name: str, what: str, *subjects: str, more: str = "", namespace: str = "shop") -> str:
    """A binding of a role, named by `what`; `more` are fields, each with a comma behind it."""
    spec = f"{{{more} roleRef: {{kind: ServiceRole, name: {what}}}, subjects: "
    return obj("ServiceRoleBinding", name, f"{spec}[{', '.join(subjects)}]}}", namespace)


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    """An authentication Policy."""
    return obj("Policy", name, spec, namespace, AUTHENTICATION)


def mesh_policy(spec: str) -> str:
    """The MeshPolicy."""
    return obj("MeshPolicy", "default", spec, "", AUTHENTICATION)


def destination(user: str = "web", labels: Labels | None = None) -> Destination:
    """The service `web` as a workload with these labels serves it."""
    return Destination(
        host=HOST, name="web", namespace="shop", user=user, labels=labels or {"app": "web"}
    )


def service(
    ports: Sequence[tuple[str, int]] = (("http", 80),), host: str = HOST, namespace: str = "shop"
) -> Service:
    """A service with these ports."""
    made = tuple(
        Port(name=name, number=number, target_port=number, protocol=Protocol.HTTP)
        for name, number in ports
    )
    return Service(host=host, namespace=namespace, ports=made)

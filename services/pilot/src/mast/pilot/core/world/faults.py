"""What is wrong with clusters and credentials of a view."""

from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Service
from mast.pilot.core.security import credentials


def duplicate(cluster: str) -> Finding:
    """Of two clusters with one name only the first is used (pilot.md G8)."""
    return Finding(
        fault=Fault.DUPLICATE_CLUSTER,
        key=cluster,
        message=f"There are two clusters {cluster}: only the first is used.",
    )


def without_instances(cluster: str, service: Service) -> Finding:
    """No endpoint of a cluster takes requests."""
    return Finding(
        fault=Fault.NO_INSTANCES,
        key=cluster,
        message=f"Cluster {cluster} has no endpoint that takes requests.",
        subject=service.object_name,
    )


def without_credential(name: str, why: credentials.Unavailable) -> Finding:
    """A proxy wants a credential that it cannot have."""
    return Finding(
        fault=Fault.UNAVAILABLE_CREDENTIAL,
        key=name,
        message=f"Credential {name} cannot be used by proxies of {why.namespace}: {why.reason}.",
        subject=why.subject,
    )

"""The key schema of the shared state in etcd; every key is relative to the store's root."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

CONFIG = "config/"
SECRETS = "secrets/"
HISTORY = "history/"
HISTORY_CHANGES = "history/changes/"
HISTORY_REPLACED = "history/replaced/"
REGISTRY = "registry/"
REGISTRY_SERVICES = "registry/services/"
REGISTRY_WORKLOADS = "registry/workloads/"
REGISTRY_ENDPOINTS = "registry/endpoints/"
REGISTRY_CLUSTERS = "registry/clusters/"
TRUST = "trust/"
JWKS = "jwks/"
CA = "ca/"
# There while a backup is put back: nobody makes a CA meanwhile.
CA_RESTORING = "ca/restoring"
QUOTA = "quota/"
FLOWS = "flows/"
STATUS = "status/"
STATUS_PROXIES = "status/proxies/"
STATUS_CONFIG = "status/config/"
STATUS_GATEWAYS = "status/gateways/"
STATUS_MIXER = "status/mixer/"
STATUS_CLUSTERS = "status/clusters/"
STATUS_TRUST = "status/trust/"
LEADER = "leader/"

# The only collection whose objects are kept apart, because they are sealed.
SECRETS_COLLECTION = "k8s/core/v1/secrets"

# Stands for "no namespace" in a config key: a cluster-scoped object.
NO_NAMESPACE = "-"


@dataclass(frozen=True, slots=True, order=True)
class ConfigKey:
    """Names one configuration object; ``namespace`` is empty for a cluster-scoped one."""

    collection: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return config_key(self.collection, self.namespace, self.name)


def config_key(collection: str, namespace: str, name: str) -> str:
    """``config/<collection>/<namespace or '-'>/<name>``, ``secrets/<namespace>/<name>``.

    The collection is an MCP collection name such as ``istio/networking/v1alpha3/gateways``.
    Raises ValueError for an empty collection or name, or a slash in namespace or name.
    """
    return collection_prefix(collection, namespace) + _part("name", name)


def parse_config_key(key: str) -> ConfigKey:
    """The object a ``config/`` or ``secrets/`` key names; ValueError if it has another form."""
    if key.startswith(SECRETS):
        namespace, _, name = key.removeprefix(SECRETS).partition("/")
        if not namespace or not name or "/" in name:
            raise ValueError(f"key {key!r}: must be {SECRETS}<namespace>/<name>")
        return ConfigKey(SECRETS_COLLECTION, namespace, name)
    parts = key.removeprefix(CONFIG).rsplit("/", 2)
    if not key.startswith(CONFIG) or len(parts) != 3 or not all(parts):
        raise ValueError(f"key {key!r}: must be {CONFIG}<collection>/<namespace or '-'>/<name>")
    collection, namespace, name = parts
    return ConfigKey(collection, "" if namespace == NO_NAMESPACE else namespace, name)


def collection_prefix(collection: str, namespace: str | None = None) -> str:
    """Prefix of all keys of a collection, or of one namespace of it ('' = no namespace).

    Raises ValueError as ``config_key`` does.
    """
    if not collection or collection != collection.strip("/"):
        raise ValueError(f"collection {collection!r}: must be a path without outer slashes")
    whole = SECRETS if collection == SECRETS_COLLECTION else f"{CONFIG}{collection}/"
    if namespace is None:
        return whole
    return f"{whole}{_part('namespace', namespace or NO_NAMESPACE)}/"


def change_key(id: str) -> str:
    """Key of the record of one change of configuration."""
    return HISTORY_CHANGES + _part("change", id)


def replaced_key(id: str) -> str:
    """Key of what a change replaced."""
    return HISTORY_REPLACED + _part("change", id)


def service_key(namespace: str, host: str, cluster: str = "") -> str:
    """Key of a canonical Service; each cluster that reports a host has one of its own."""
    where = f"{REGISTRY_SERVICES}{_part('namespace', namespace)}/{_part('host', host)}"
    return f"{where}/{_part('cluster', cluster)}" if cluster else where


def workload_key(cluster: str, namespace: str, name: str) -> str:
    """Key of a canonical Workload."""
    where = f"{_part('cluster', cluster)}/{_part('namespace', namespace)}"
    return f"{REGISTRY_WORKLOADS}{where}/{_part('name', name)}"


def endpoints_key(namespace: str, host: str, shard: str, part: int = 0) -> str:
    """Key of one shard of a service's endpoints; a large one has parts, in the order of keys."""
    where = f"{_part('namespace', namespace)}/{_part('host', host)}"
    whole = f"{REGISTRY_ENDPOINTS}{where}/{_part('shard', shard)}"
    return f"{whole}/{part:04}" if part else whole


def cluster_key(cluster: str) -> str:
    """Key of a cluster that Galley reads from afar."""
    return REGISTRY_CLUSTERS + _part("cluster", cluster)


def trust_key(trust_domain: str) -> str:
    """Key of a trust domain's root bundle."""
    return TRUST + _part("trust domain", trust_domain)


def jwks_key(jwks_uri: str, issuer: str) -> str:
    """Key of what an issuer publishes, found by a URI or by the issuer; one of them is empty."""
    return JWKS + sha256(f"{jwks_uri}\n{issuer}".encode()).hexdigest()


def quota_key(handler: str, cell: str) -> str:
    """Key of a cell of a quota that replicas count together."""
    return f"{QUOTA}{_part('handler', handler)}/{_part('cell', cell)}"


def flows_key(node_id: str) -> str:
    """Key of what a Mixer that closed has reported of a proxy's open connections."""
    return FLOWS + sha256(node_id.encode()).hexdigest()


def proxy_status_key(node_id: str) -> str:
    """Key of a connected proxy's status."""
    return STATUS_PROXIES + _part("node id", node_id)


def config_status_key(collection: str, namespace: str, name: str, replica: str) -> str:
    """Key of what one Pilot replica found out about a configuration object."""
    return config_status_prefix(collection, namespace, name) + _part("replica", replica)


def config_status_prefix(collection: str, namespace: str, name: str) -> str:
    """Prefix of what all replicas found out about a configuration object."""
    key = config_key(collection, namespace, name)
    return f"{STATUS_CONFIG}{key.removeprefix(CONFIG)}/"


def gateway_status_key(collection: str, namespace: str, name: str) -> str:
    """Key of the status of an object of Gateway API."""
    return STATUS_GATEWAYS + config_key(collection, namespace, name).removeprefix(CONFIG)


def mixer_status_key(replica: str) -> str:
    """Key of what one Mixer replica has in force."""
    return STATUS_MIXER + _part("replica", replica)


def clusters_status_key(replica: str) -> str:
    """Key of what one Galley replica knows of the clusters that it reads."""
    return STATUS_CLUSTERS + _part("replica", replica)


def trust_status_key(reporter: str) -> str:
    """Key of what one process of the control plane knows about who trusts the mesh's roots."""
    return STATUS_TRUST + _part("reporter", reporter)


def leader_key(what: str) -> str:
    """Key that the leader of ``what`` holds."""
    return LEADER + _part("leader of", what)


def _part(what: str, text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f"{what} {text!r}: must not be empty or contain '/'")
    return text

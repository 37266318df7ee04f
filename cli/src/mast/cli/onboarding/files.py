"""The files with which a machine joins a mesh, from its WorkloadGroup (citadel-and-agent.md B9)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.cli.onboarding.group import CANONICAL_NAME, CANONICAL_REVISION, Group

CLUSTER_ENV = "cluster.env"
MESH = "mesh.yaml"
ROOT = "root-cert.pem"
TOKEN = "istio-token"  # noqa: S105 - the name of a file
HOSTS = "hosts"

_PORT = "15012"
_NEVER_CAPTURED = ("22", "15090", "15021")
"""Remote shells, so that a mistake locks nobody out, and the proxy's own ports."""

_STATUS_PORT = 15020


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the command line adds to a WorkloadGroup.

    ``discovery`` and ``ca`` are HOST:PORT, or empty for Istio's usual address of the control
    plane. ``ingress_ip`` is where that name leads, ``internal_ip`` or ``external_ip`` the
    workload's own address.
    """

    cluster_id: str = "Kubernetes"
    namespace: str = "istio-system"
    revision: str = ""
    discovery: str = ""
    ca: str = ""
    ingress_ip: str = ""
    internal_ip: str = ""
    external_ip: str = ""
    register: bool = False
    capture_dns: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError that names the option."""
        if self.internal_ip and self.external_ip:
            raise ValueError("--internalIP and --externalIP exclude each other")
        addresses = {
            "--ingressIP": self.ingress_ip,
            "--internalIP": self.internal_ip,
            "--externalIP": self.external_ip,
        }
        for option, text in addresses.items():
            if text and not is_address(text):
                raise ValueError(f"{option} {text!r}: want an IP address")

    @property
    def revisioned(self) -> bool:
        """A revision of its own was asked for."""
        return self.revision not in {"", "default"}

    @property
    def host(self) -> str:
        """The control plane's name."""
        name = f"istiod-{self.revision}" if self.revisioned else "istiod"
        return f"{name}.{self.namespace}.svc"


def named(host: str, discovery: str, ca: str, ingress_ip: str) -> tuple[str, str, str]:
    """Addresses of Pilot and Citadel by the control plane's name, and where that name leads.

    Certificates have no addresses of machines. Without ``ingress_ip`` the name leads to Pilot.
    """
    pilot, _, pilot_port = discovery.rpartition(":")
    citadel, _, citadel_port = ca.rpartition(":")
    if not is_address(pilot):
        return discovery, ca, ingress_ip
    by_name = f"{host}:{pilot_port}"
    same = citadel == pilot
    return by_name, f"{host}:{citadel_port}" if same else ca, ingress_ip or pilot.strip("[]")


def is_address(host: str) -> bool:
    """Whether a host is an IP address, in brackets or not."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def files(
    group: Group, mesh: Mapping[str, Any], choices: Choices, *, roots: str, token: str
) -> dict[str, str]:
    """The content of each file by its name; ``mesh`` is the JSON of MeshConfig.

    Raises ValueError that names the annotation or setting that cannot be used.
    """
    config = _proxy_config(group, mesh, choices)
    return {
        CLUSTER_ENV: _cluster_env(group, config, choices),
        MESH: yaml.safe_dump({"defaultConfig": MessageToDict(config)}, sort_keys=True),
        ROOT: roots,
        TOKEN: token,
        HOSTS: f"{choices.ingress_ip} {choices.host}\n" if choices.ingress_ip else "",
    }


def _proxy_config(group: Group, mesh: Mapping[str, Any], choices: Choices) -> ProxyConfig:
    """The mesh's default settings under those of the group, and who the workload is."""
    merged: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for where, overlay in [
        ("MeshConfig.defaultConfig", mesh.get("defaultConfig") or {}),
        *((f"annotation of WorkloadGroup {group.name}", _read(t)) for t in group.proxy_configs),
    ]:
        try:
            known = MessageToDict(ParseDict(overlay, ProxyConfig(), ignore_unknown_fields=True))
        except (ParseError, AttributeError, TypeError) as error:
            raise ValueError(f"ProxyConfig of {where}: {error}") from error
        merged |= known
        metadata |= known.get("proxyMetadata", {})
    merged["proxyMetadata"] = {**metadata, **_metadata(group, mesh, merged, choices)}
    if group.spec.HasField("probe"):
        merged["readinessProbe"] = MessageToDict(group.spec.probe)
    if choices.discovery:
        merged["discoveryAddress"] = choices.discovery
    elif choices.revisioned and not merged.get("discoveryAddress"):
        merged["discoveryAddress"] = f"{choices.host}:{_PORT}"
    return ParseDict(merged, ProxyConfig())


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"ProxyConfig of an annotation: no YAML: {error}") from error


def _metadata(
    group: Group, mesh: Mapping[str, Any], config: Mapping[str, Any], choices: Choices
) -> dict[str, str]:
    """Variables of the agent that say who the workload is."""
    labels, template = group.labels, group.spec.template
    found = {
        "CANONICAL_SERVICE": labels[CANONICAL_NAME],
        "CANONICAL_REVISION": labels[CANONICAL_REVISION],
        "POD_NAMESPACE": group.namespace,
        "SERVICE_ACCOUNT": group.service_account,
        "TRUST_DOMAIN": str(mesh.get("trustDomain", "")),
        "ISTIO_META_CLUSTER_ID": choices.cluster_id,
        "ISTIO_META_MESH_ID": str(config.get("meshId", "")),
        "ISTIO_META_NETWORK": template.network,
        "ISTIO_META_WORKLOAD_NAME": group.name,
        "ISTIO_METAJSON_LABELS": _compact(labels),
    }
    if template.ports:
        ports = [
            {"name": name, "containerPort": number}
            for name, number in sorted(template.ports.items())
        ]
        found["ISTIO_META_POD_PORTS"] = _compact(ports)
    if choices.capture_dns:
        found["ISTIO_META_DNS_CAPTURE"] = "true"
    if choices.register:
        found["ISTIO_META_AUTO_REGISTER_GROUP"] = group.name
    return found


def _cluster_env(group: Group, config: ProxyConfig, choices: Choices) -> str:
    """Variables of capture and agent, in a form that shells read too."""
    own = config.status_port or _STATUS_PORT
    excluded = [*_NEVER_CAPTURED, *([] if str(own) in _NEVER_CAPTURED else [str(own)])]
    ports = sorted(group.spec.template.ports.values())
    found = {
        **config.proxy_metadata,
        "ISTIO_INBOUND_PORTS": ",".join(map(str, ports)) or "*",
        "ISTIO_LOCAL_EXCLUDE_PORTS": ",".join(excluded),
        "ISTIO_SERVICE_CIDR": "*",
        "ISTIO_NAMESPACE": group.namespace,
        "ISTIO_SERVICE": f"{group.name}.{group.namespace}",
        "SERVICE_ACCOUNT": group.service_account,
    }
    if choices.revisioned or choices.ca not in {"", config.discovery_address}:
        found["CA_ADDR"] = choices.ca or f"{choices.host}:{_PORT}"
    if choices.internal_ip:
        found["ISTIO_SVC_IP"] = choices.internal_ip
    if choices.external_ip:
        found["ISTIO_SVC_IP"] = choices.external_ip
        found["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] = "true"
    return "".join(f"{key}={_quoted(found[key])}\n" for key in sorted(found))


def _quoted(text: str) -> str:
    quoted = shlex.quote(text)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)

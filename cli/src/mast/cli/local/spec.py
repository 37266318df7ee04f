"""What a workload of a laptop mesh is, and everything that follows from it: pure values.

The configuration objects that announce it, the environment of its agent and of the program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mast.cli.local.home import LOOPBACK, Mesh

CLUSTER = "laptop"
OUTBOUND_PROXY_PORT = 15080
CONTROL_PLANE_NAME = "istiod.istio-system.svc"
PROTOCOLS = ("http", "http2", "grpc", "tcp", "https", "tls", "mongo", "redis", "mysql")
GATEWAY_PORTS = ("80", "443/https")
"""Ports of a gateway that was given none."""

_TLS_MODE = "security.istio.io/tlsMode"
_GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
_PRIVILEGED = 1024
_UNPRIVILEGED_OFFSET = 8000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service, and the port behind it if that is another one."""

    number: int
    protocol: str = "http"
    target: int = 0

    @classmethod
    def parse(cls, text: str) -> Port:
        """``9080`` or ``9080/tcp``; ValueError says what is allowed."""
        number, _, protocol = text.partition("/")
        if not _is_port(number):
            raise ValueError(
                f"port {text!r}: write a number from 1 to 65535, e.g. 9080 or 6379/tcp"
            )
        if protocol and protocol not in PROTOCOLS:
            raise ValueError(f"port {text!r}: protocol is one of {', '.join(PROTOCOLS)}")
        return cls(int(number), protocol or "http")

    @classmethod
    def parse_mapped(cls, text: str) -> Port:
        """As ``parse``, and ``80:8080``: dialled on 80, served on 8080."""
        ports, slash, protocol = text.partition("/")
        number, colon, target = ports.partition(":")
        if colon and not _is_port(target):
            raise ValueError(f"port {text!r}: write for example 80, 80:8080 or 443:8443/https")
        found = cls.parse(f"{number}{slash}{protocol}")
        return replace(found, target=int(target) if colon else 0)

    @property
    def served(self) -> int:
        """The port that is listened on."""
        return self.target or self.number


@dataclass(frozen=True, slots=True)
class Spec:
    """A program to run as one workload of a service, or a gateway, which has no program."""

    service: str
    command: Sequence[str]
    ports: tuple[Port, ...] = ()
    version: str = "v1"
    namespace: str = "default"
    service_account: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    gateway: bool = False

    def __post_init__(self) -> None:
        for what in ("service", "version", "namespace"):
            value = getattr(self, what)
            if not _NAME.fullmatch(value):
                raise ValueError(
                    f"{what} {value!r}: lower case letters, digits and '-', at most 63, "
                    "beginning and ending with a letter or digit"
                )

    @property
    def account(self) -> str:
        """Service account: the service's name unless chosen."""
        return self.service_account or self.service

    @property
    def group(self) -> str:
        """The WorkloadGroup it registers with, like a Deployment one per version."""
        return f"{self.service}-{self.version}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its workloads; those of gateways are Istio's and Gateway API's.

        Callers send a gateway what its servers expect, which is not the mesh's own mutual TLS
        unless a DestinationRule says so.
        """
        own = {"app": self.service, "version": self.version}
        if self.gateway:
            own |= {
                "istio": self.service.removeprefix("istio-"),
                _GATEWAY_NAME: self.service,
                _TLS_MODE: "disabled",
            }
        return own


@dataclass(frozen=True, slots=True)
class Place:
    """Where one workload stands: its name and its addresses.

    ``outbound`` and ``app_ports`` (port of the service -> port of the program) are for loopback
    mode only.
    """

    name: str
    address: str
    outbound: str = ""
    app_ports: Mapping[int, int] = field(default_factory=dict)


def objects(spec: Spec, domain: str = "cluster.local") -> list[dict[str, Any]]:
    """The ServiceEntry (if it has ports) and WorkloadGroup that announce the workload."""
    found: list[dict[str, Any]] = []
    meta = {"namespace": spec.namespace, "labels": {"mast.io/managed-by": "mastctl-run"}}
    if spec.ports:
        ports = [
            {
                "number": p.number,
                "name": f"{p.protocol}-{p.number}",
                "protocol": p.protocol.upper(),
                **({"targetPort": p.target} if p.target else {}),
            }
            for p in spec.ports
        ]
        found.append(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "ServiceEntry",
                "metadata": {"name": spec.service, **meta},
                "spec": {
                    "hosts": [f"{spec.service}.{spec.namespace}.svc.{domain}"],
                    "location": "MESH_INTERNAL",
                    "resolution": "STATIC",
                    "ports": ports,
                    "workloadSelector": {"labels": {"app": spec.service}},
                },
            }
        )
    group: dict[str, Any] = {
        "metadata": {"labels": spec.labels},
        "template": {"serviceAccount": spec.account},
    }
    if spec.ports and not spec.gateway:
        group["probe"] = readiness_probe(spec.ports[0].number)
    found.append(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadGroup",
            "metadata": {"name": spec.group, **meta},
            "spec": group,
        }
    )
    return found


def unprivileged(spec: Spec) -> Spec:
    """A gateway on ports that any user may listen on: those below 1024 are served 8000 higher."""
    ports = (
        replace(port, target=port.number + _UNPRIVILEGED_OFFSET)
        if port.served < _PRIVILEGED
        else port
        for port in spec.ports
    )
    return replace(spec, ports=tuple(ports))


def _is_port(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= 65535


def readiness_probe(port: int) -> dict[str, Any]:
    """A workload gets traffic while its program accepts connections on its first port."""
    return {
        "tcpSocket": {"host": "127.0.0.1", "port": port},
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        "failureThreshold": 2,
    }


def agent_environment(spec: Spec, place: Place, mesh: Mesh, root_cert: str) -> dict[str, str]:
    """Environment of the workload's agent (citadel-and-agent.md B1)."""
    environment = {
        "POD_NAME": place.name,
        "POD_NAMESPACE": spec.namespace,
        "SERVICE_ACCOUNT": spec.account,
        "INSTANCE_IP": place.address,
        "TRUST_DOMAIN": mesh.trust_domain,
        "CA_ADDR": mesh.addresses["citadel"],
        "CA_ROOT_CA": root_cert,
        "XDS_ROOT_CA": root_cert,
        "ISTIOD_SAN": CONTROL_PLANE_NAME,
        "ECC_SIGNATURE_ALGORITHM": "ECDSA",
        "MAST_SUPERVISE": "true",
        "PROXY_CONFIG": json.dumps(_proxy_config(spec, place, mesh)),
        "ISTIO_META_CLUSTER_ID": CLUSTER,
        "ISTIO_META_MESH_ID": mesh.trust_domain,
        "ISTIO_META_WORKLOAD_NAME": spec.group,
        "ISTIO_META_AUTO_REGISTER_GROUP": spec.group,
        "ISTIO_METAJSON_LABELS": json.dumps({"LABELS": spec.labels}),
        "ISTIO_META_DNS_CAPTURE": "true",
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
    }
    if spec.gateway:
        environment |= {"ISTIO_META_DNS_CAPTURE": "false"}
        if mesh.mode == LOOPBACK:
            bind = {"MAST_BIND_ADDRESS": place.address, "ISTIO_META_OUTBOUND_BIND": place.address}
            environment |= bind
    elif mesh.mode == LOOPBACK:
        endpoints = {str(k): f"127.0.0.1:{v}" for k, v in place.app_ports.items()}
        environment |= {
            "MAST_BIND_ADDRESS": place.address,
            "ISTIO_META_DNS_CAPTURE": "false",
            "ISTIO_META_INTERCEPTION_MODE": "NONE",
            "ISTIO_META_OUTBOUND_BIND": place.outbound,
            "ISTIO_META_HTTP_PROXY_PORT": str(OUTBOUND_PROXY_PORT),
            "ISTIO_META_APP_ENDPOINTS": json.dumps(endpoints),
        }
    return environment


def _proxy_config(spec: Spec, place: Place, mesh: Mesh) -> dict[str, Any]:
    config: dict[str, Any] = {"discoveryAddress": mesh.addresses["pilot-secure"]}
    if spec.ports and not spec.gateway:
        port = spec.ports[0].number
        config["readinessProbe"] = readiness_probe(place.app_ports.get(port, port))
    return config


def program_environment(spec: Spec, place: Place, mesh: Mesh) -> dict[str, str]:
    """What is added to the program's environment.

    ``PORT`` and ``HOST`` say where to listen. In loopback mode HTTP leaves through ``http_proxy``,
    HTTPS through ``https_proxy``.
    """
    environment = {"MAST_WORKLOAD": place.name, "HOST": "0.0.0.0"}  # noqa: S104
    if spec.ports:
        environment["PORT"] = str(spec.ports[0].number)
    if mesh.mode == LOOPBACK:
        proxy = f"http://{place.outbound}:{OUTBOUND_PROXY_PORT}"
        proxied = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
        environment |= {"HOST": "127.0.0.1", **dict.fromkeys(proxied, proxy)}
        environment |= {"no_proxy": "localhost,127.0.0.1", "MAST_OUTBOUND": place.outbound}
        if spec.ports:
            environment["PORT"] = str(place.app_ports[spec.ports[0].number])
    return {**environment, **spec.environment}

"""Probes of the application that the kubelet asks the agent to make (B7, `/app-health`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from istio.networking.v1alpha3.workload_group_pb2 import ReadinessProbe

_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class HttpProbe:
    """GET over HTTP or HTTPS, the certificate unverified. No ``host``: the workload itself."""

    port: int
    host: str = ""
    path: str
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    timeout: timedelta = _SECOND


@dataclass(frozen=True, kw_only=True)
class TcpProbe:
    """A connection that is accepted. No ``host``: the workload itself."""

    port: int
    host: str = ""
    timeout: timedelta = _SECOND


@dataclass(frozen=True, kw_only=True)
class GrpcProbe:
    """The gRPC health protocol."""

    port: int
    service: str = ""
    timeout: timedelta = _SECOND


@dataclass(frozen=True, kw_only=True)
class ExecProbe:
    """A command that ends with status 0."""

    command: tuple[str, ...]
    timeout: timedelta = _SECOND


Probe = HttpProbe | TcpProbe | GrpcProbe | ExecProbe


def readiness(probe: ReadinessProbe) -> Probe:
    """The probe of a WorkloadGroup (B9). Raises ValueError if it names no check."""
    timeout = timedelta(seconds=probe.timeout_seconds or 1)
    kind = probe.WhichOneof("health_check_method")
    if kind == "http_get":
        http = probe.http_get
        return HttpProbe(
            port=http.port,
            host=http.host,
            path=http.path or "/",
            https=http.scheme.upper() == "HTTPS",
            headers=tuple((each.name, each.value) for each in http.http_headers),
            timeout=timeout,
        )
    if kind == "tcp_socket":
        return TcpProbe(port=probe.tcp_socket.port, host=probe.tcp_socket.host, timeout=timeout)
    if kind == "exec":
        return ExecProbe(command=tuple(probe.exec.command), timeout=timeout)
    if kind == "grpc":
        return GrpcProbe(port=probe.grpc.port, service=probe.grpc.service, timeout=timeout)
    raise ValueError("readinessProbe: want one of httpGet, tcpSocket, exec, grpc")


def probers(text: str) -> Mapping[str, Probe]:
    """The probe behind each path, of ``ISTIO_KUBE_APP_PROBERS`` (JSON; Kubernetes Probe).

    Raises ValueError that names the path and the field.
    """
    if not text:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"ISTIO_KUBE_APP_PROBERS: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("ISTIO_KUBE_APP_PROBERS: want a JSON object")
    return {path: _probe(path, each) for path, each in value.items()}


def _probe(path: str, value: dict[str, Any]) -> Probe:
    timeout = timedelta(seconds=value.get("timeoutSeconds") or 1)
    if http := value.get("httpGet"):
        target = str(http.get("path") or "/")
        return HttpProbe(
            port=_port(path, http),
            path=target if target.startswith("/") else f"/{target}",
            https=str(http.get("scheme", "")).upper() == "HTTPS",
            headers=tuple((each["name"], each["value"]) for each in http.get("httpHeaders") or ()),
            timeout=timeout,
        )
    if tcp := value.get("tcpSocket"):
        return TcpProbe(port=_port(path, tcp), timeout=timeout)
    if grpc := value.get("grpc"):
        service = str(grpc.get("service") or "")
        return GrpcProbe(port=_port(path, grpc), service=service, timeout=timeout)
    raise ValueError(
        f"ISTIO_KUBE_APP_PROBERS {path}: want one of httpGet, tcpSocket, grpc; got {sorted(value)}"
    )


def _port(path: str, action: dict[str, Any]) -> int:
    text = str(action.get("port", ""))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"ISTIO_KUBE_APP_PROBERS {path}: port {text!r}: want 1 to 65535")
    return int(text)

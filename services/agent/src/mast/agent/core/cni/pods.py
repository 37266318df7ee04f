"""What the plugin makes of a pod: whether it is captured, and by which rules (C6).

Pods are as the API server has them, in decoded JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Pod = Mapping[str, Any]

PROXY: Final = "istio-proxy"
INIT: Final = "istio-init"
VALIDATION: Final = "istio-validation"
OWN_LABEL: Final = ("k8s-app", "istio-cni-node")
"""What pods of the plugin itself have."""

STATUS: Final = "sidecar.istio.io/status"
INJECT: Final = "sidecar.istio.io/inject"
MODE: Final = "sidecar.istio.io/interceptionMode"
_TRAFFIC: Final = "traffic.sidecar.istio.io/"
_REROUTE: Final = "istio.io/reroute-virtual-interfaces"

_PROXY_ID: Final = 1337
_OWN_INBOUND: Final = ("15020", "15021", "15090")
_OWN_OUTBOUND: Final = "15020"
_TRUE: Final = ("true", "1")
_FLAGS: Final = (
    ("-x", "excludeOutboundIPRanges"),
    ("-q", "includeOutboundPorts"),
    ("-c", "excludeInterfaces"),
)
# Variables of the proxy that say something of capture, and the flags that stand for them.
_SWITCHES: Final = (
    ("INVALID_DROP", "--drop-invalid"),
    ("ISTIO_DUAL_STACK", "--dual-stack"),
)


def reason_to_skip(pod: Pod, excluded: Sequence[str]) -> str:
    """Why a pod is left alone; "" if it is captured."""
    metadata = pod.get("metadata") or {}
    namespace = str(metadata.get("namespace", ""))
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    if namespace in excluded:
        return f"namespace {namespace} is excluded"
    if labels.get(OWN_LABEL[0]) == OWN_LABEL[1]:
        return "a pod of the plugin itself"
    if INIT in {each.get("name") for each in _containers(pod, "initContainers")}:
        return f"{INIT} programs it"
    proxy = _proxy(pod)
    if proxy is None:
        return f"no container {PROXY}"
    if _variable(proxy, "DISABLE_ENVOY").lower() in _TRUE:
        return "DISABLE_ENVOY: there is no proxy to capture for"
    if not _is_sidecar(proxy):
        return "the proxy is no sidecar"
    if labels.get(INJECT, annotations.get(INJECT, "")).lower() == "false":
        return f"{INJECT} is false"
    if not annotations.get(STATUS):
        return f"{STATUS} is missing: it was not injected"
    if annotations.get(MODE) == "NONE":
        return f"{MODE} is NONE"
    return ""


def arguments(pod: Pod, *, native_nftables: bool = False) -> list[str]:
    """The flags of `istio-iptables` for a pod, whose annotations the injector resolved (C1)."""
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    proxy = _proxy(pod) or {}

    def asked(name: str, default: str = "") -> str:
        return annotations.get(f"{_TRAFFIC}{name}", default)

    user, group = _ids(pod, proxy)
    words = [
        *("-p", "15001", "-z", "15006"),
        *("-u", user, "-g", group),
        *("-m", annotations.get(MODE) or "REDIRECT"),
        *("-i", asked("includeOutboundIPRanges", "*")),
        *("-b", asked("includeInboundPorts", "*")),
        *("-d", _joined(*_OWN_INBOUND, *asked("excludeInboundPorts").split(","))),
        *("-o", _joined(*asked("excludeOutboundPorts", _OWN_OUTBOUND).split(","))),
    ]
    interfaces = annotations.get(_REROUTE) or asked("kubevirtInterfaces")
    more = [(flag, asked(name)) for flag, name in _FLAGS]
    for flag, value in (*more, ("-k", interfaces)):
        if value:
            words += [flag, value]
    # The pod's own resolv.conf is not written yet, so that its servers are not known.
    if _variable(proxy, "ISTIO_META_DNS_CAPTURE").lower() in _TRUE:
        words += ["--redirect-dns", "--capture-all-dns"]
    words += [flag for name, flag in _SWITCHES if _variable(proxy, name).lower() in _TRUE]
    return [*words, "--native-nftables"] if native_nftables else words


def _containers(pod: Pod, *lists: str) -> Iterator[Mapping[str, Any]]:
    spec = pod.get("spec") or {}
    for each in lists or ("containers", "initContainers"):
        yield from spec.get(each) or ()


def _proxy(pod: Pod) -> Mapping[str, Any] | None:
    """The proxy, which is an init container if it is a native sidecar."""
    return next((each for each in _containers(pod) if each.get("name") == PROXY), None)


def _is_sidecar(proxy: Mapping[str, Any]) -> bool:
    """Whether its command line is that of a sidecar, as it is unless it says otherwise (B1)."""
    words = [word for word in proxy.get("args") or () if not str(word).startswith("-")]
    return words[:1] != ["proxy"] or words[1:2] in ([], ["sidecar"])


def _variable(container: Mapping[str, Any], name: str) -> str:
    found = (each for each in container.get("env") or () if each.get("name") == name)
    return next((str(each.get("value", "")) for each in found), "")


def _ids(pod: Pod, proxy: Mapping[str, Any]) -> tuple[str, str]:
    """User and group that the proxy runs as: its own, or 1337. Those of the pod are programs'."""
    context = proxy.get("securityContext") or {}
    user, group = (context.get(each) for each in ("runAsUser", "runAsGroup"))
    return str(_PROXY_ID if user is None else user), str(_PROXY_ID if group is None else group)


def _joined(*ports: str) -> str:
    return ",".join(dict.fromkeys(each.strip() for each in ports if each.strip()))

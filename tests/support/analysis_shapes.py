"""Objects that samples for analyzers are made of."""

from __future__ import annotations

from tests.support.analysis_case import doc, pod, service

GATEWAY_POD = pod("edge", "{istio: edge}", ns="edge")
EDGE_SERVICE = service("edge", ns="edge", selector="{istio: edge}")
WEB = service("web")
VS = "VirtualService shop/web"
DR = "DestinationRule shop/web"
GW = "Gateway shop/front"


def virtual_service(
    route: str, *, name: str = "web", ns: str = "shop", hosts: str = "[web]", more: str = ""
) -> str:
    spec = f"{{hosts: {hosts}, http: [{{route: [{{destination: {route}}}]}}]{more}}}"
    return doc("VirtualService", name, spec, ns=ns)


def gateway(
    *,
    name: str = "front",
    ns: str = "shop",
    number: int = 80,
    hosts: str = "['*']",
    tls: str = "",
    selector: str = "{istio: edge}",
) -> str:
    protocol = "HTTPS" if tls else "HTTP"
    port = f"{{number: {number}, name: p{number}, protocol: {protocol}}}"
    more = f", tls: {tls}" if tls else ""
    spec = f"{{selector: {selector}, servers: [{{port: {port}, hosts: {hosts}{more}}}]}}"
    return doc("networking.istio.io/Gateway", name, spec, ns=ns)


def rule(policy: str = "", *, subsets: str = "", host: str = "web", more: str = "") -> str:
    parts = [f"host: {host}"]
    parts += [f"trafficPolicy: {policy}"] if policy else []
    parts += [f"subsets: {subsets}"] if subsets else []
    return doc("DestinationRule", "web", "{" + ", ".join(parts) + more + "}")


def entry(ports: str, *, name: str = "out", more: str = "resolution: DNS") -> str:
    return doc("ServiceEntry", name, f"{{hosts: [out.example], ports: {ports}, {more}}}")

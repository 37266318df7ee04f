"""Samples of messages about DestinationRules, ServiceEntries, Gateways, EnvoyFilters, Services."""

from __future__ import annotations

from tests.support.analysis_case import Case, deployment, doc, pod, service
from tests.support.analysis_shapes import (
    DR,
    EDGE_SERVICE,
    GATEWAY_POD,
    GW,
    WEB,
    entry,
    gateway,
    rule,
)

CERTIFIED = "{mode: SIMPLE, credentialName: cert}"
PATCH = "EnvoyFilter shop/patch"
V1 = "[{name: v1}]"
FILES = "{mode: SIMPLE, serverCertificate: /etc/c.pem, privateKey: /etc/k.pem}"
TWO_SERVERS = doc(
    "networking.istio.io/Gateway",
    "two",
    "{selector: {istio: edge}, servers: [{port: {number: 81, name: a, protocol: HTTP}, "
    "hosts: ['*']}, {port: {number: 80, name: b, protocol: HTTP}, hosts: ['*/*']}]}",
)
ELSEWHERE = (
    "{hosts: [out.example], resolution: DNS, exportTo: [.], "
    "ports: [{number: 80, name: a, protocol: %s}]}"
)


def patch(operation: str, apply_to: str = "CLUSTER", *, more: str = "", match: str = "") -> str:
    value = "" if operation == "REMOVE" else ", value: {name: x}"
    chosen = f", match: {match}" if match else ""
    each = f"{{applyTo: {apply_to}, patch: {{operation: {operation}{value}}}{chosen}}}"
    return doc("EnvoyFilter", "patch", f"{{configPatches: [{each}]{more}}}")


CASES = (
    Case(
        "rule-host", "IST0174", DR, rule(subsets="[{name: v1}]"), WEB + rule(subsets="[{name: v1}]")
    ),
    Case(
        "rule-wildcard-host",
        "IST0174",
        DR,
        WEB + rule("{loadBalancer: {simple: RANDOM}}", host="'*.b.svc.cluster.local'"),
        WEB + rule("{loadBalancer: {simple: RANDOM}}", host="'*.shop.svc.cluster.local'"),
    ),
    Case(
        "rule-subset",
        "IST0173",
        DR,
        WEB + pod("web") + rule(subsets="[{name: v1, labels: {version: v1}}]"),
        WEB
        + pod("web", "{app: web, version: v1}")
        + rule(subsets="[{name: v1, labels: {version: v1, topology.istio.io/cluster: c}}]"),
    ),
    Case(
        "rule-subset-of-endpoints",
        "IST0173",
        DR,
        entry(
            "[{number: 80, name: http, protocol: HTTP}]",
            more="resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {version: v2}}]",
        )
        + rule(subsets="[{name: v1, labels: {version: v1}}]", host="out.example"),
        entry(
            "[{number: 80, name: http, protocol: HTTP}]",
            more="resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {version: v1}}]",
        )
        + rule(subsets="[{name: v1, labels: {version: v1}}]", host="out.example"),
    ),
    Case(
        "unverified",
        "IST0128",
        DR,
        WEB + rule("{tls: {mode: SIMPLE}}"),
        WEB + rule("{tls: {mode: SIMPLE, caCertificates: /etc/ca.pem}}"),
    ),
    Case(
        "unverified-subset",
        "IST0128",
        DR,
        WEB + rule(subsets="[{name: v1, trafficPolicy: {tls: {mode: SIMPLE}}}]"),
        WEB + rule(subsets="[{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]"),
    ),
    Case(
        "unverified-credential",
        "IST0128",
        DR,
        WEB + rule("{tls: {mode: SIMPLE, credentialName: ca}}"),
        WEB
        + pod("client")
        + rule(
            "{tls: {mode: SIMPLE, credentialName: ca}}",
            more=", workloadSelector: {matchLabels: {app: client}}, exportTo: [.]",
        ),
    ),
    Case(
        "unverified-port",
        "IST0129",
        DR,
        WEB + rule("{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}"),
        WEB
        + rule(
            "{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, "
            "insecureSkipVerify: true}}]}"
        ),
    ),
    Case(
        "entry-addresses",
        "IST0134",
        "ServiceEntry shop/out",
        entry("[{number: 9, name: tcp, protocol: TCP}]", more="resolution: NONE"),
        entry("[{number: 9, name: tcp, protocol: TCP}]", more="addresses: [10.0.0.0/8]"),
    ),
    Case(
        "entry-protocols",
        "IST0177",
        "ServiceEntry shop/out",
        entry("[{number: 80, name: a, protocol: HTTP}]")
        + entry("[{number: 80, name: a, protocol: HTTPS}]", name="two"),
        entry("[{number: 80, name: a, protocol: HTTP}]")
        + entry("[{number: 80, name: b, protocol: HTTP}]", name="two"),
    ),
    Case("gateway-selector", "IST0101", GW, gateway(), gateway() + GATEWAY_POD),
    Case(
        "gateway-port",
        "IST0162",
        GW,
        gateway(number=8443) + GATEWAY_POD + EDGE_SERVICE,
        gateway() + GATEWAY_POD + EDGE_SERVICE,
    ),
    Case(
        "gateway-target-port",
        "IST0162",
        GW,
        gateway(number=8080) + GATEWAY_POD + service("edge", ns="other", selector="{istio: edge}"),
        gateway(number=8080)
        + GATEWAY_POD
        + service(
            "edge",
            "[{name: http, port: 80, targetPort: 8080}]",
            ns="edge",
            selector="{istio: edge}",
        ),
    ),
    Case(
        "gateway-conflict",
        "IST0145",
        GW,
        gateway() + gateway(name="two", selector="{istio: edge, zone: a}"),
        gateway() + gateway(name="two", number=81),
    ),
    Case(
        "gateway-conflict-of-hosts",
        "IST0145",
        GW,
        gateway(hosts="[a.example, b.example]") + gateway(name="two", hosts="[B.example]"),
        gateway(hosts="[a.example]") + gateway(name="two", hosts="[B.example]"),
    ),
    Case(
        "gateway-certificate",
        "IST0138",
        GW,
        gateway(tls=CERTIFIED) + gateway(name="two", number=444, tls=CERTIFIED),
        gateway(tls=CERTIFIED) + gateway(name="two", tls="{mode: SIMPLE, credentialName: other}"),
    ),
    Case(
        "relative-patch",
        "IST0151",
        PATCH,
        patch("MERGE"),
        patch("MERGE", more=", priority: 1"),
    ),
    Case(
        "relative-patch-of-a-version",
        "IST0155",
        PATCH,
        patch("MERGE", match="{proxy: {proxyVersion: '^1'}}"),
        patch("ADD", match="{proxy: {proxyVersion: '^1'}}"),
    ),
    Case("replace", "IST0152", PATCH, patch("REPLACE"), patch("MERGE")),
    Case("add", "IST0153", PATCH, patch("ADD", "BOOTSTRAP"), patch("ADD")),
    Case("remove", "IST0154", PATCH, patch("REMOVE", "BOOTSTRAP"), patch("REMOVE")),
    Case(
        "port-name",
        "IST0118",
        "Service shop/web",
        service("web", "[{name: web, port: 80}]"),
        service(
            "web",
            "[{name: GRPC-web, port: 80}, {port: 3306}, {name: a, port: 9, "
            "appProtocol: kubernetes.io/h2c}, {name: b, port: 8, protocol: UDP}]",
        ),
    ),
    Case(
        "alias",
        "IST0150",
        "Service shop/web",
        doc("Service", "web", "{type: ExternalName, externalName: a.example, ports: [{port: 80}]}"),
        doc(
            "Service",
            "web",
            "{type: ExternalName, externalName: a.example, ports: [{name: https, port: 443}]}",
        ),
    ),
    Case(
        "port-protocols",
        "IST0116",
        "Deployment shop/web",
        deployment("web")
        + service("web", "[{name: tcp, port: 53}]")
        + service("two", "[{name: udp, port: 53, protocol: UDP}]", selector="{app: web}"),
        deployment("web")
        + service("web", "[{name: tcp, port: 53}]")
        + service("two", "[{name: udp, port: 54, protocol: UDP}]", selector="{app: web}"),
    ),
    Case(
        "port-targets",
        "IST0137",
        "Deployment shop/web",
        deployment("web")
        + service("web", "[{name: http, port: 80, targetPort: 8080}]")
        + service("two", "[{name: http, port: 81, targetPort: 8080}]", selector="{app: web}"),
        deployment("web")
        + service("web", "[{name: http, port: 80, targetPort: 8080}]")
        + service("two", "[{name: http, port: 81, targetPort: 8081}]", selector="{app: web}"),
    ),
    Case(
        "rule-subset-of-anything",
        "IST0173",
        DR,
        WEB + rule(subsets="[{name: v1, labels: {version: v1}}]"),
        doc("Service", "web", "{ports: [{name: http, port: 80}]}")
        + rule(subsets="[{name: v1, labels: {version: v1}}]"),
    ),
    Case(
        "gateway-named-target",
        "IST0162",
        GW,
        gateway(number=8080)
        + GATEWAY_POD
        + service("edge", "[{port: 80, targetPort: web}]", ns="edge", selector="{istio: edge}"),
        gateway(number=8080, selector="{}") + GATEWAY_POD,
    ),
    Case(
        "gateway-files",
        "IST0138",
        GW,
        gateway(tls=FILES) + gateway(name="two", number=444, tls=FILES),
        gateway(tls=FILES) + gateway(name="two", number=444, tls=FILES, selector="{a: b}"),
    ),
    Case(
        "gateway-conflict-of-one-server",
        "IST0145",
        GW,
        gateway() + TWO_SERVERS,
        gateway(number=82) + TWO_SERVERS,
    ),
    Case(
        "entry-protocols-seen-apart",
        "IST0177",
        "ServiceEntry shop/out",
        entry("[{number: 80, name: a, protocol: HTTP}]")
        + doc("ServiceEntry", "out", ELSEWHERE % "TLS", ns="b"),
        entry("[{number: 80, name: a, protocol: HTTP}]", more="resolution: DNS, exportTo: [.]")
        + doc("ServiceEntry", "out", ELSEWHERE % "TLS", ns="b"),
    ),
    Case(
        "port-name-of-a-system",
        "IST0118",
        "Service shop/web",
        service("web", "[{port: 80}]"),
        service("web", "[{port: 80}]", ns="kube-system"),
    ),
)

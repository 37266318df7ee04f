"""Samples of messages about VirtualServices and objects one by one."""

from __future__ import annotations

from tests.support.analysis_case import Case, doc, service
from tests.support.analysis_shapes import DR, VS, WEB, entry, gateway, rule, virtual_service

TWO_PORTS = service("web", "[{name: http, port: 80}, {name: http-b, port: 81}]")
TO_WEB = virtual_service("{host: web}")
_SUBSET = virtual_service("{host: web, subset: v1}")
_ENTERING = virtual_service(
    "{host: web}", name="in", hosts="[web.example]", more=", gateways: [front]"
)
_TCP = doc("VirtualService", "web", "{hosts: [web], tcp: [{route: [{destination: {host: web}}]}]}")
_DELEGATING = doc(
    "VirtualService", "web", "{hosts: [web], http: [{delegate: {name: part, namespace: b}}]}"
)

CASES = (
    Case(
        "gateway",
        "IST0101",
        VS,
        WEB + virtual_service("{host: web}", more=", gateways: [front, mesh]"),
        WEB + gateway() + virtual_service("{host: web}", more=", gateways: [front, mesh]"),
    ),
    Case(
        "gateway-of-a-match",
        "IST0101",
        VS,
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], gateways: [mesh, a/front], http: [{match: [{gateways: [b/front]}], "
            "route: [{destination: {host: web}}]}]}",
        )
        + gateway(ns="a"),
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], gateways: [mesh, a/front], "
            "http: [{match: [{gateways: [a/front, mesh]}], route: [{destination: {host: web}}]}]}",
        )
        + gateway(ns="a"),
    ),
    Case(
        "host", "IST0101", VS, virtual_service("{host: web}"), WEB + virtual_service("{host: web}")
    ),
    Case(
        "host-not-exported",
        "IST0101",
        VS,
        service("web", ns="other", annotations="{networking.istio.io/exportTo: .}")
        + virtual_service("{host: web.other.svc.cluster.local}"),
        service("web", ns="other", annotations="{networking.istio.io/exportTo: 'shop,x'}")
        + virtual_service("{host: web.other.svc.cluster.local}"),
    ),
    Case(
        "host-of-an-entry",
        "IST0101",
        VS,
        entry("[{number: 80, name: http, protocol: HTTP}]", more="resolution: DNS, exportTo: [x]")
        + virtual_service("{host: out.example}"),
        entry("[{number: 80, name: http, protocol: HTTP}]")
        + virtual_service("{host: out.example}"),
    ),
    Case(
        "host-of-a-wildcard",
        "IST0101",
        VS,
        doc("ServiceEntry", "all", "{hosts: ['*.example'], ports: [{number: 80, name: http}]}")
        + virtual_service("{host: example}"),
        doc("ServiceEntry", "all", "{hosts: ['*.example'], ports: [{number: 80, name: http}]}")
        + virtual_service("{host: a.example}"),
    ),
    Case(
        "host-of-a-mirror",
        "IST0101",
        VS,
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{route: [{destination: {host: web}}], mirror: {host: shadow}}]}",
        ),
        WEB
        + service("shadow")
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{route: [{destination: {host: web}}], mirrors: "
            "[{destination: {host: shadow}}]}]}",
        ),
    ),
    Case(
        "host-of-tcp",
        "IST0101",
        VS,
        doc(
            "VirtualService", "web", "{hosts: [web], tcp: [{route: [{destination: {host: web}}]}]}"
        ),
        WEB
        + doc(
            "VirtualService", "web", "{hosts: [web], tcp: [{route: [{destination: {host: web}}]}]}"
        ),
    ),
    Case(
        "port",
        "IST0101",
        VS,
        WEB + virtual_service("{host: web, port: {number: 81}}"),
        WEB + virtual_service("{host: web, port: {number: 80}}"),
    ),
    Case("subset", "IST0101", VS, WEB + _SUBSET, WEB + _SUBSET + rule(subsets="[{name: v1}]")),
    Case(
        "subset-of-a-wildcard",
        "IST0101",
        VS,
        WEB + _SUBSET + rule(subsets="[{name: v1}]", host="'*.other.svc.cluster.local'"),
        WEB + _SUBSET + rule(subsets="[{name: v1}]", host="'*.shop.svc.cluster.local'"),
    ),
    Case(
        "delegate",
        "IST0101",
        VS,
        doc("VirtualService", "web", "{hosts: [web], http: [{delegate: {name: part}}]}"),
        doc("VirtualService", "web", "{hosts: [web], http: [{delegate: {name: part}}]}")
        + WEB
        + doc("VirtualService", "part", "{http: [{route: [{destination: {host: web}}]}]}"),
    ),
    Case(
        "delegate-with-hosts",
        "IST0101",
        VS,
        doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{delegate: {name: part, namespace: b}}]}",
        )
        + virtual_service("{host: web}", name="part", ns="b", hosts="[x.example]")
        + WEB,
        doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{delegate: {name: part, namespace: b}}]}",
        )
        + doc(
            "VirtualService",
            "part",
            "{http: [{route: [{destination: {host: web.shop.svc.cluster.local}}]}]}",
            ns="b",
        )
        + WEB,
    ),
    Case(
        "ports",
        "IST0112",
        VS,
        TWO_PORTS + virtual_service("{host: web}"),
        TWO_PORTS + virtual_service("{host: web, port: {number: 81}}"),
    ),
    Case(
        "unserved",
        "IST0132",
        VS,
        WEB
        + gateway(hosts="[shop.example]")
        + virtual_service("{host: web}", hosts="[a.example]", more=", gateways: [front]"),
        WEB
        + gateway(hosts="['shop/*.example', b.example]")
        + virtual_service("{host: web}", hosts="[a.example]", more=", gateways: [front]"),
    ),
    Case(
        "unserved-for-others",
        "IST0132",
        VS,
        WEB
        + gateway(hosts="[other/a.example]")
        + virtual_service("{host: web}", hosts="[a.example]", more=", gateways: [front]"),
        WEB
        + gateway(hosts="[./a.example]")
        + virtual_service("{host: web}", hosts="[a.example]", more=", gateways: [front]"),
    ),
    Case(
        "generated-gateway",
        "IST0165",
        VS,
        WEB
        + virtual_service(
            "{host: web}", more=", gateways: [edge-istio-autogenerated-k8s-gateway-http]"
        ),
        WEB + virtual_service("{host: web}"),
    ),
    Case(
        "hosts",
        "IST0109",
        VS,
        WEB + virtual_service("{host: web}") + virtual_service("{host: web}", name="two"),
        WEB
        + virtual_service("{host: web}")
        + virtual_service("{host: web}", name="two", more=", gateways: [front]")
        + gateway(),
    ),
    Case(
        "hosts-seen-apart",
        "IST0109",
        VS,
        WEB
        + virtual_service("{host: web}", hosts="[a.example]", more=", exportTo: [.]")
        + virtual_service("{host: web}", name="two", ns="b", hosts="[a.example]"),
        WEB
        + virtual_service("{host: web}", hosts="[a.example]", more=", exportTo: [.]")
        + virtual_service(
            "{host: web.shop.svc.cluster.local}",
            name="two",
            ns="b",
            hosts="[a.example]",
            more=", exportTo: [.]",
        ),
    ),
    Case(
        "ingress",
        "IST0140",
        VS,
        WEB + gateway() + _SUBSET + rule(subsets="[{name: v1}]") + _ENTERING,
        WEB
        + gateway()
        + _SUBSET
        + rule(subsets="[{name: v1}]")
        + virtual_service(
            "{host: web, subset: v1}", name="in", hosts="[web.example]", more=", gateways: [front]"
        ),
    ),
    Case(
        "unreachable",
        "IST0130",
        VS,
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{route: [{destination: {host: web}}]}, "
            "{route: [{destination: {host: web}}]}]}",
        ),
        WEB + virtual_service("{host: web}"),
    ),
    Case(
        "ineffective",
        "IST0131",
        VS,
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{match: [{uri: {prefix: /a}}], route: [{destination: "
            "{host: web}}]}, {match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], route: "
            "[{destination: {host: web}}]}]}",
        ),
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{match: [{uri: {prefix: /a}}], route: [{destination: "
            "{host: web}}]}, {match: [{uri: {prefix: /b}}], route: "
            "[{destination: {host: web}}]}]}",
        ),
    ),
    Case(
        "deprecated-field",
        "IST0002",
        VS,
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{fault: {delay: {percent: 5, fixedDelay: 1s}}, route: "
            "[{destination: {host: web}}]}]}",
        ),
        WEB
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web], http: [{fault: {delay: {percentage: {value: 5}, fixedDelay: 1s}}, "
            "route: [{destination: {host: web}}]}]}",
        ),
    ),
    Case(
        "deprecated-value",
        "IST0002",
        DR,
        WEB + rule("{loadBalancer: {simple: LEAST_CONN}}"),
        WEB + rule("{loadBalancer: {simple: LEAST_REQUEST}}"),
    ),
    Case(
        "deprecated-by-a-rule",
        "IST0002",
        DR,
        WEB + rule("{outlierDetection: {consecutiveErrors: 5}}"),
        WEB + rule("{outlierDetection: {consecutive5xxErrors: 5}}"),
    ),
    Case(
        "invalid",
        "IST0106",
        VS,
        WEB + virtual_service("{host: web, prot: 80}"),
        WEB + virtual_service("{host: web}"),
    ),
    Case(
        "twice",
        "IST0133",
        VS,
        WEB + virtual_service("{host: web}") + virtual_service("{host: web}"),
        WEB + virtual_service("{host: web}"),
    ),
    Case(
        "doubtful",
        "IST0133",
        VS,
        WEB
        + virtual_service("{host: web}", more=", gateways: [mesh, front.shop.svc.cluster.local]")
        + gateway(),
        WEB + virtual_service("{host: web}", more=", gateways: [mesh, front]") + gateway(),
    ),
    Case(
        "host-missing",
        "IST0101",
        VS,
        virtual_service("{host: web}"),
        virtual_service("{port: {number: 80}}"),
    ),
)

"""Samples of messages about policies, telemetry, selectors and kinds of 1.0 to 1.4."""

from __future__ import annotations

from tests.support.analysis_case import Case, doc, pod, registered, service
from tests.support.analysis_shapes import GATEWAY_POD, GW, WEB, gateway
from tests.support.pki import Ca

AP = "AuthorizationPolicy shop/p"
RA = "RequestAuthentication shop/p"
SELECTED = "selector: {matchLabels: {app: web}}"
ROOT = Ca.root()
VALID = ROOT.leaf(dns=["front.example"])


def policy(spec: str = "", *, kind: str = "AuthorizationPolicy", ns: str = "shop") -> str:
    return doc(kind, "p", f"{{{spec}}}", ns=ns)


def sidecar(name: str, selector: str = "") -> str:
    chosen = f", workloadSelector: {{labels: {selector}}}" if selector else ""
    return doc("Sidecar", name, f"{{egress: [{{hosts: ['*/*']}}]{chosen}}}")


def telemetry(name: str, selector: str = "") -> str:
    chosen = f", selector: {{matchLabels: {selector}}}" if selector else ""
    spec = f"{{accessLogging: [{{providers: [{{name: envoy}}]}}]{chosen}}}"
    return doc("Telemetry", name, spec)


def mesh(spec: str) -> str:
    return doc("MeshConfig", "default", spec, ns="istio-system")


def secret(name: str, data: str, *, ns: str = "shop", labels: str = "{}") -> str:
    return doc("Secret", name, ns=ns, labels=labels, top=f"stringData: {data}")


def pem(text: bytes) -> str:
    return '"' + text.decode().replace("\n", "\\n") + '"'


CERTIFICATE = f"{{tls.crt: {pem(VALID.chain)}, tls.key: {pem(VALID.key)}}}"
TLS = "{mode: SIMPLE, credentialName: cert}"
MUTUAL = "{mode: MUTUAL, credentialName: cert}"
_POD = pod("web")
_CLAIMS = WEB + doc(
    "VirtualService",
    "web",
    "{hosts: [web.example], gateways: [front], http: [{match: [{headers: "
    "{'@request.auth.claims.group': {exact: a}}}], route: [{destination: {host: web}}]}]}",
)
_TOKENS = "jwtRules: [{issuer: a, jwksUri: 'https://keys.example/k'}]"
_PLANE = "{name: discovery, image: pilot%s}"


def control_plane(env: str = "") -> str:
    container = _PLANE % (f", env: [{env}]" if env else "")
    spec = f"{{template: {{spec: {{containers: [{container}]}}}}}}"
    return doc("Deployment", "istiod", spec, ns="istio-system", labels="{app: istiod}")


_TARGET = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]"
_GATEWAY_CLASS = doc("GatewayClass", "x", "{controllerName: a.example/b}")

CASES = (
    Case(
        "namespace",
        "IST0101",
        AP,
        _POD + policy("rules: [{from: [{source: {namespaces: [ghost]}}]}]"),
        _POD
        + doc("Namespace", "ghost")
        + policy("rules: [{from: [{source: {namespaces: [ghost, 'team-*']}}]}]"),
    ),
    Case(
        "not-namespace",
        "IST0101",
        AP,
        _POD + policy("rules: [{from: [{source: {notNamespaces: [ghost]}}]}]"),
        _POD + policy("rules: [{from: [{source: {notNamespaces: [shop]}}]}]"),
    ),
    Case(
        "provider",
        "IST0101",
        AP,
        _POD + mesh("{}") + policy("action: CUSTOM, provider: {name: ask}, rules: [{}]"),
        _POD
        + mesh("{extensionProviders: [{name: ask, envoyExtAuthzGrpc: {service: a.b, port: 9}}]}")
        + policy("action: CUSTOM, provider: {name: ask}, rules: [{}]"),
    ),
    Case(
        "telemetry-provider",
        "IST0101",
        "Telemetry shop/t",
        mesh("{}") + doc("Telemetry", "t", "{tracing: [{providers: [{name: spans}]}]}"),
        mesh("{}") + doc("Telemetry", "t", "{accessLogging: [{providers: [{name: envoy}]}]}"),
    ),
    Case(
        "target",
        "IST0101",
        AP,
        policy("targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}"),
        policy("targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]")
        + doc(
            "gateway.networking.k8s.io/Gateway",
            "g",
            "{gatewayClassName: istio, listeners: [{name: a, port: 80, protocol: HTTP}]}",
        ),
    ),
    Case(
        "target-class",
        "IST0101",
        AP,
        policy("targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: x}]"),
        policy("targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: x}]")
        + _GATEWAY_CLASS,
    ),
    Case("no-workload", "IST0127", AP, policy(SELECTED), policy(SELECTED) + _POD),
    Case(
        "no-workload-of-the-mesh",
        "IST0127",
        "PeerAuthentication istio-system/p",
        _POD
        + policy("selector: {matchLabels: {a: b}}", kind="PeerAuthentication", ns="istio-system"),
        _POD + policy(SELECTED, kind="PeerAuthentication", ns="istio-system"),
    ),
    Case("no-workload-at-all", "IST0127", AP, policy("rules: [{}]"), policy("rules: [{}]") + _POD),
    Case(
        "no-machine",
        "IST0127",
        AP,
        policy(SELECTED) + doc("WorkloadEntry", "m", "{address: 10.0.0.1, labels: {app: b}}"),
        policy(SELECTED) + doc("WorkloadEntry", "m", "{address: 10.0.0.1, labels: {app: web}}"),
    ),
    Case(
        "no-group",
        "IST0127",
        AP,
        policy(SELECTED) + doc("WorkloadGroup", "m", "{template: {}}"),
        policy(SELECTED)
        + doc("WorkloadGroup", "m", "{metadata: {labels: {app: web}}, template: {}}"),
    ),
    Case(
        "sidecar-of-nothing",
        "IST0101",
        "Sidecar shop/s",
        sidecar("s", "{app: web}"),
        sidecar("s", "{app: web}") + _POD,
    ),
    Case(
        "telemetry-of-nothing",
        "IST0101",
        "Telemetry shop/t",
        telemetry("t", "{app: web}"),
        telemetry("t", "{app: web}") + _POD,
    ),
    Case(
        "sidecars-of-one-pod",
        "IST0110",
        "Sidecar shop/s",
        pod("web", "{app: web, v: a}") + sidecar("s", "{app: web}") + sidecar("t", "{v: a}"),
        pod("web", "{app: web, v: a}") + sidecar("s", "{app: web}") + sidecar("t", "{v: b}"),
    ),
    Case(
        "sidecars-of-all",
        "IST0111",
        "Sidecar shop/s",
        sidecar("s") + sidecar("t"),
        sidecar("s") + sidecar("t", "{app: web}"),
    ),
    Case(
        "telemetries-of-one-pod",
        "IST0159",
        "Telemetry shop/s",
        pod("web", "{app: web, v: a}") + telemetry("s", "{app: web}") + telemetry("t", "{v: a}"),
        pod("web", "{app: web, v: a}") + telemetry("s", "{app: web}") + telemetry("t"),
    ),
    Case(
        "telemetries-of-all",
        "IST0160",
        "Telemetry shop/s",
        telemetry("s") + telemetry("t"),
        telemetry("s") + telemetry("t", "{app: web}"),
    ),
    Case(
        "selector-of-a-gateway",
        "IST0166",
        AP,
        policy(SELECTED) + pod("web", "{app: web, gateway.networking.k8s.io/gateway-name: g}"),
        policy(SELECTED) + _POD,
    ),
    Case(
        "policy-of-a-waypoint",
        "IST0167",
        AP,
        service("web") + policy("targetRefs: [{kind: Service, group: '', name: web}]"),
        policy(SELECTED) + _POD,
    ),
    Case(
        "no-provider",
        "IST0157",
        "Telemetry shop/t",
        doc("Telemetry", "t", "{tracing: [{randomSamplingPercentage: 5}]}"),
        mesh(
            "{defaultProviders: {tracing: [z]}, extensionProviders: "
            "[{name: z, zipkin: {service: z.b, port: 9411}}]}"
        )
        + doc("Telemetry", "t", "{tracing: [{randomSamplingPercentage: 5}]}"),
    ),
    Case(
        "no-logger",
        "IST0157",
        "Telemetry shop/t",
        doc("Telemetry", "t", "{accessLogging: [{match: {mode: CLIENT}}]}"),
        doc("Telemetry", "t", "{accessLogging: [{disabled: true}]}"),
    ),
    Case(
        "claims",
        "IST0149",
        "VirtualService shop/web",
        _CLAIMS + gateway() + GATEWAY_POD + policy(_TOKENS, kind="RequestAuthentication"),
        _CLAIMS
        + gateway()
        + GATEWAY_POD
        + policy(_TOKENS, kind="RequestAuthentication", ns="edge"),
    ),
    Case(
        "claims-of-nobody",
        "IST0149",
        "VirtualService shop/web",
        _CLAIMS + gateway() + policy(f"{SELECTED}, {_TOKENS}", kind="RequestAuthentication"),
        _CLAIMS
        + gateway()
        + policy(
            f"selector: {{matchLabels: {{istio: edge}}}}, {_TOKENS}", kind="RequestAuthentication"
        ),
    ),
    Case(
        "keys",
        "IST0175",
        RA,
        control_plane() + policy(_TOKENS, kind="RequestAuthentication"),
        control_plane("{name: BLOCKED_CIDRS_IN_JWKS_URIS, value: 10.0.0.0/8}")
        + policy(_TOKENS, kind="RequestAuthentication"),
    ),
    Case(
        "secret",
        "IST0101",
        GW,
        gateway(tls=TLS) + secret("cert", CERTIFICATE, ns="other"),
        gateway(tls=TLS) + GATEWAY_POD + secret("cert", CERTIFICATE, ns="edge"),
    ),
    Case(
        "secret-of-a-namespace",
        "IST0101",
        GW,
        gateway(tls="{mode: SIMPLE, credentialName: 'kubernetes://b/cert'}") + GATEWAY_POD,
        gateway(tls="{mode: SIMPLE, credentialName: 'kubernetes://b/cert'}")
        + GATEWAY_POD
        + secret("cert", CERTIFICATE, ns="b"),
    ),
    Case(
        "secret-without-key",
        "IST0161",
        GW,
        gateway(tls=TLS) + secret("cert", f"{{tls.crt: {pem(VALID.chain)}}}"),
        gateway(tls=TLS) + secret("cert", CERTIFICATE),
    ),
    Case(
        "secret-of-nonsense",
        "IST0161",
        GW,
        gateway(tls=TLS) + secret("cert", "{tls.crt: a, tls.key: b}"),
        gateway(tls=TLS) + secret("cert", CERTIFICATE),
    ),
    Case(
        "secret-without-roots",
        "IST0161",
        GW,
        gateway(tls=MUTUAL) + secret("cert", CERTIFICATE),
        gateway(tls=MUTUAL)
        + secret("cert", CERTIFICATE)
        + secret("cert-cacert", f"{{ca.crt: {pem(ROOT.pem)}}}"),
    ),
    Case(
        "registry",
        "IST0126",
        "MeshNetworks istio-system/default",
        doc(
            "MeshNetworks",
            "default",
            "{networks: {a: {endpoints: [{fromRegistry: far}], gateways: "
            "[{address: 192.0.2.1, port: 443}]}}}",
            ns="istio-system",
        ),
        doc(
            "MeshNetworks",
            "default",
            "{networks: {a: {endpoints: [{fromRegistry: far}, {fromRegistry: Kubernetes}], "
            "gateways: [{address: 192.0.2.1, port: 443}]}}}",
            ns="istio-system",
        )
        + secret(
            "remote", "{far: kubeconfig}", ns="istio-system", labels="{istio/multiCluster: 'true'}"
        ),
    ),
    Case(
        "no-registered-workload",
        "IST0127",
        AP,
        policy(SELECTED) + registered("workload", "{app: b}"),
        policy(SELECTED) + registered("workload", "{app: web}"),
    ),
    Case(
        "secret-of-another-store",
        "IST0101",
        GW,
        gateway(tls="{mode: SIMPLE, credentialName: ghost}") + GATEWAY_POD,
        gateway(tls="{mode: SIMPLE, credentialName: 'vault://ghost'}") + GATEWAY_POD,
    ),
    Case(
        "claims-checked-for-a-target",
        "IST0149",
        "VirtualService shop/web",
        _CLAIMS + gateway() + policy(f"{_TARGET}, {_TOKENS}", kind="RequestAuthentication"),
        WEB
        + gateway()
        + doc(
            "VirtualService",
            "web",
            "{hosts: [web.example], gateways: [front], http: [{match: [{headers: "
            "{group: {exact: a}}}], route: [{destination: {host: web}}]}]}",
        ),
    ),
    Case(
        "keys-at-hand",
        "IST0175",
        RA,
        control_plane("{name: OTHER, value: a}") + policy(_TOKENS, kind="RequestAuthentication"),
        control_plane()
        + policy("jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}]", kind="RequestAuthentication"),
    ),
)

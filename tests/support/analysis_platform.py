"""Samples of messages about namespaces, pods, annotations, webhooks and statuses."""

from __future__ import annotations

import json

from tests.support.analysis_case import Case, deployment, doc, pod, service

INJECTED = "{istio-injection: enabled}"
NS = "Namespace shop"
POD = "Pod shop/web"
PROXY = "[{name: istio-proxy, image: hub/proxyv2:%s}]"
VERSION = "gateway.networking.k8s.io/bundle-version"
ROUTES = "httproutes.gateway.networking.k8s.io"
CRD = f"CustomResourceDefinition {ROUTES}"


def namespace(labels: str = "{}", *, name: str = "shop") -> str:
    return doc("Namespace", name, labels=labels)


def injector(values: object) -> str:
    top = f"data: {{values: '{json.dumps(values)}', config: 'policy: enabled'}}"
    return doc("ConfigMap", "istio-sidecar-injector", ns="istio-system", top=top)


def in_clusters(**specs: str) -> str:
    """The Service shop/web as clusters reported it."""
    return "".join(
        "---\napiVersion: registry.mast/v1\nkind: Service\n"
        f"metadata: {{name: {cluster}}}\n"
        "spec: {host: web.shop.svc.cluster.local, namespace: shop, name: web,"
        f" registry: Kubernetes, cluster: {cluster}{spec}}}\n"
        for cluster, spec in specs.items()
    )


HTTP = ", ports: [{name: http, number: 80, target_port: %s, protocol: HTTP}]"


def webhook(
    name: str,
    *,
    pods: str = "{}",
    namespaces: str = "{matchLabels: {istio-injection: enabled}}",
    client: str = "{service: {namespace: istio-system, name: istiod}}",
    kind: str = "MutatingWebhookConfiguration",
) -> str:
    each = (
        f"{{name: namespace.sidecar-injector.istio.io, namespaceSelector: {namespaces}, "
        f"objectSelector: {pods}, clientConfig: {client}}}"
    )
    return doc(kind, name, top=f"webhooks: [{each}]")


def definition(release: str) -> str:
    return doc("CustomResourceDefinition", ROUTES, "{}", annotations=f"{{{VERSION}: {release}}}")


def crontab(image: str) -> str:
    template = (
        "{metadata: {labels: {app: nightly}}, spec: {containers: "
        f"[{{name: istio-proxy, image: {image}}}]}}}}"
    )
    return doc("CronJob", "nightly", f"{{jobTemplate: {{spec: {{template: {template}}}}}}}")


ISTIOD = service("istiod", ns="istio-system")
INJECTOR = "MutatingWebhookConfiguration istio-sidecar-injector"
REVISION = (
    "{matchLabels: {istio.io/rev: canary}, matchExpressions: "
    "[{key: istio-injection, operator: DoesNotExist}]}"
)
CANARY = "{matchExpressions: [{key: istio.io/rev, operator: In, values: [canary]}]}"
REFUSED = "{matchExpressions: [{key: app, operator: Exists}, {key: app, operator: DoesNotExist}]}"
CURRENT = {"global": {"hub": "hub", "tag": "2", "proxy": {"image": "proxyv2"}}}
BY_DEFAULT = {"sidecarInjectorWebhook": {"enableNamespacesByDefault": True}}

CASES = (
    Case("not-injected", "IST0102", NS, namespace(), namespace("{istio-injection: disabled}")),
    Case(
        "not-injected-system",
        "IST0102",
        NS,
        namespace(),
        namespace(name="istio-system") + namespace(name="kube-system"),
    ),
    Case("by-default", "IST0148", NS, injector(BY_DEFAULT) + namespace(), namespace()),
    Case(
        "both-labels",
        "IST0123",
        NS,
        namespace("{istio-injection: enabled, istio.io/rev: a}"),
        namespace("{istio.io/rev: a}"),
    ),
    Case(
        "no-proxy",
        "IST0103",
        POD,
        namespace(INJECTED) + pod("web"),
        namespace(INJECTED) + pod("web", containers=PROXY % "2"),
    ),
    Case(
        "no-proxy-of-a-revision",
        "IST0103",
        POD,
        namespace("{istio.io/rev: a}") + pod("web"),
        namespace("{istio.io/rev: a}")
        + pod("web", annotations="{sidecar.istio.io/inject: 'false'}"),
    ),
    Case(
        "no-proxy-by-label",
        "IST0103",
        POD,
        pod("web", "{sidecar.istio.io/inject: 'true'}"),
        pod("web", "{sidecar.istio.io/inject: 'true'}", more=", hostNetwork: true"),
    ),
    Case(
        "no-proxy-by-default",
        "IST0103",
        POD,
        injector(BY_DEFAULT) + pod("web"),
        injector(BY_DEFAULT) + namespace("{istio-injection: disabled}") + pod("web"),
    ),
    Case(
        "no-proxy-by-webhook",
        "IST0103",
        POD,
        ISTIOD
        + webhook("istio-sidecar-injector", namespaces="{matchLabels: {team: a}}")
        + namespace("{team: a}")
        + pod("web"),
        ISTIOD
        + webhook("istio-sidecar-injector", namespaces="{matchLabels: {team: a}}")
        + namespace(INJECTED)
        + pod("web"),
    ),
    Case(
        "user",
        "IST0144",
        POD,
        pod("web", containers="[{name: app, securityContext: {runAsUser: 1337}}]"),
        pod("web", containers="[{name: istio-proxy, securityContext: {runAsUser: 1337}}]"),
    ),
    Case(
        "user-of-a-template",
        "IST0144",
        "Deployment shop/web",
        deployment("web", more=", securityContext: {runAsUser: 1337}"),
        deployment("web", more=", securityContext: {runAsUser: 1338}"),
    ),
    Case(
        "auto-template",
        "IST0146",
        "CronJob shop/nightly",
        crontab("auto"),
        namespace(INJECTED) + crontab("auto"),
    ),
    Case(
        "auto-pod",
        "IST0147",
        POD,
        pod("web", containers="[{name: istio-proxy, image: auto}]"),
        namespace(INJECTED) + pod("web", containers="[{name: istio-proxy, image: auto}]"),
    ),
    Case(
        "image",
        "IST0158",
        NS,
        injector(CURRENT) + namespace(INJECTED) + pod("web", containers=PROXY % "1"),
        injector(CURRENT) + namespace(INJECTED) + pod("web", containers=PROXY % "2"),
    ),
    Case(
        "image-of-its-own",
        "IST0158",
        POD,
        injector(CURRENT) + pod("web", containers=PROXY % "1"),
        injector(CURRENT)
        + pod("web", containers=PROXY % "1", annotations="{sidecar.istio.io/proxyImage: 'x/y:1'}"),
    ),
    Case(
        "misplaced",
        "IST0107",
        "Deployment shop/web",
        deployment("web", own="{proxy.istio.io/config: '{}'}"),
        deployment("web", annotations="{proxy.istio.io/config: '{}'}"),
    ),
    Case(
        "misplaced-on-a-policy",
        "IST0107",
        "Service shop/web",
        service("web", annotations="{sidecar.istio.io/proxyCPU: 10m}"),
        service("web", annotations="{networking.istio.io/exportTo: '*'}"),
    ),
    Case(
        "unknown",
        "IST0108",
        POD,
        pod("web", annotations="{sidecar.istio.io/proxyCpu: 10m}"),
        pod("web", annotations="{sidecar.istio.io/proxyCPU: 10m, example.com/a: b}"),
    ),
    Case(
        "value",
        "IST0125",
        POD,
        pod("web", annotations="{traffic.sidecar.istio.io/excludeInboundPorts: '80,x'}"),
        pod("web", annotations="{traffic.sidecar.istio.io/excludeInboundPorts: '80,81'}"),
    ),
    Case(
        "value-of-a-template",
        "IST0125",
        "Deployment shop/web",
        deployment("web", annotations="{sidecar.istio.io/inject: 'yes'}"),
        deployment("web", annotations="{sidecar.istio.io/inject: 'true'}"),
    ),
    Case(
        "deprecated",
        "IST0135",
        POD,
        pod("web", annotations="{sidecar.istio.io/inject: 'true'}"),
        pod("web", annotations="{sidecar.istio.io/status: '{}'}"),
    ),
    Case(
        "alpha",
        "IST0136",
        POD,
        pod("web", annotations="{sidecar.istio.io/logLevel: debug}"),
        pod("web", annotations="{proxy.istio.io/config: '{}'}"),
    ),
    Case(
        "webhook-to-nowhere",
        "IST0139",
        INJECTOR,
        webhook("istio-sidecar-injector"),
        webhook("istio-sidecar-injector") + ISTIOD,
    ),
    Case(
        "webhooks-overlap",
        "IST0139",
        INJECTOR,
        ISTIOD + webhook("istio-sidecar-injector") + webhook("istio-sidecar-injector-two"),
        ISTIOD
        + webhook("istio-sidecar-injector")
        + webhook("istio-sidecar-injector-two", namespaces=REVISION),
    ),
    Case(
        "webhook-without-address",
        "IST0163",
        INJECTOR,
        webhook("istio-sidecar-injector", client="{caBundle: ''}"),
        webhook("istio-sidecar-injector", client="{url: 'https://istiod.example:443/inject'}"),
    ),
    Case(
        "validator-to-nonsense",
        "IST0163",
        "ValidatingWebhookConfiguration istio-validator-x",
        webhook(
            "istio-validator-x", client="{url: 'istiod:0'}", kind="ValidatingWebhookConfiguration"
        ),
        webhook(
            "istio-validator-x",
            client="{url: 'https://istiod.example/validate'}",
            kind="ValidatingWebhookConfiguration",
        ),
    ),
    Case(
        "webhook-to-an-address",
        "IST0164",
        INJECTOR,
        webhook("istio-sidecar-injector", client="{url: 'https://192.0.2.1:15017/inject'}"),
        webhook("istio-sidecar-injector", client="{url: 'https://istiod.example:15017/inject'}"),
    ),
    Case("release-unsupported", "IST0156", CRD, definition("v0.8.1"), definition("v1.2.0")),
    Case("release-unreadable", "IST0156", CRD, definition("main"), definition("v1.5.0-rc.1")),
    Case("release-old", "IST0176", CRD, definition("v1.0.0"), definition("v1.1.0")),
    Case("release-new", "IST0172", CRD, definition("v1.99.0"), definition("v1.5.1")),
    Case(
        "condition",
        "IST0171",
        "ServiceEntry shop/out",
        doc(
            "ServiceEntry",
            "out",
            "{hosts: [a.example], ports: [{number: 80, name: http}], resolution: DNS}",
            top="status: {conditions: [{type: Ready, status: 'False', reason: No}]}",
        ),
        doc(
            "ServiceEntry",
            "out",
            "{hosts: [a.example], ports: [{number: 80, name: http}], resolution: DNS}",
            top="status: {conditions: [{type: Ready, status: 'True'}, "
            "{type: Conflicted, status: 'False'}]}",
        ),
    ),
    Case(
        "condition-of-a-parent",
        "IST0171",
        "HTTPRoute shop/r",
        doc(
            "HTTPRoute",
            "r",
            "{rules: [{backendRefs: [{name: web, port: 80}]}]}",
            top="status: {parents: [{conditions: [{type: Accepted, status: 'False'}]}]}",
        ),
        doc(
            "HTTPRoute",
            "r",
            "{rules: [{backendRefs: [{name: web, port: 80}]}]}",
            top="status: {parents: [{conditions: [{type: Accepted, status: 'True'}]}]}",
        ),
    ),
    Case(
        "webhooks-overlap-in-a-revision",
        "IST0139",
        INJECTOR,
        ISTIOD
        + webhook("istio-sidecar-injector", namespaces=CANARY)
        + webhook("istio-sidecar-injector-two", namespaces=REVISION),
        ISTIOD
        + webhook("istio-sidecar-injector", namespaces=CANARY)
        + webhook("istio-sidecar-injector-two", namespaces=REVISION, pods=REFUSED),
    ),
    Case(
        "webhook-to-half-an-address",
        "IST0163",
        INJECTOR,
        webhook("istio-sidecar-injector", client="{url: 'https://[a'}"),
        webhook("istio-sidecar-injector"),
    ),
    Case(
        "webhook-of-somebody-else",
        "IST0163",
        INJECTOR,
        webhook("istio-sidecar-injector", client="{}"),
        webhook("other", client="{}"),
    ),
    Case(
        "release-of-something-else",
        "IST0176",
        CRD,
        definition("v1.0.1"),
        doc("CustomResourceDefinition", "things.a.example", "{}"),
    ),
    Case(
        "ports-by-cluster",
        "IST0170",
        "Service shop/web",
        in_clusters(main=HTTP % 80, east=HTTP.replace("HTTP", "TCP") % 80),
        in_clusters(main=HTTP % 80, east=HTTP % 8080),
    ),
    Case(
        "types-by-cluster",
        "IST0170",
        "Service shop/web",
        in_clusters(main=", headless: true", east=", addresses: [10.0.0.9]"),
        in_clusters(main=", addresses: [10.0.0.8]", east=", addresses: [10.0.0.9]"),
    ),
)

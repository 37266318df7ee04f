"""Hypothesis strategies for small meshes: valid objects, few names, so that they often meet."""

from typing import Any

from google.protobuf.json_format import ParseDict
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common import keys, kinds
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from mastapi.registry.v1 import registry_pb2 as registry
from tests.support.mesh_yaml import Put

DOMAIN = "svc.cluster.local"
NAMESPACES = ("shop", "web", "istio-system")
NAMES = ("one", "two")
HOSTS = tuple(f"{name}.{namespace}.{DOMAIN}" for name in NAMES for namespace in ("shop", "web"))
OUTSIDE = ("api.example.com", "*.example.com")
LABELS = ({"app": "one"}, {"app": "two"}, {"app": "one", "version": "v1"})
PORTS = (
    {"number": 80, "name": "http", "protocol": "HTTP"},
    {"number": 81, "name": "tcp", "protocol": "TCP", "targetPort": 8081},
    {"number": 82, "name": "any", "protocol": ""},
    {"number": 83, "name": "grpc", "protocol": "GRPC"},
)
IPS = ("10.1.0.1", "10.1.0.2", "10.1.0.3")
KEYS_OF_B = "https://b.test/keys"
GATEWAYS = ("mesh", "shop/gate")
DISTRIBUTIONS = (
    {"networking.istio.io/traffic-distribution": "PreferClose"},
    {"networking.istio.io/traffic-distribution": "PreferSameNode"},
)

names = st.sampled_from(NAMES)
namespaces = st.sampled_from(NAMESPACES)
hosts = st.sampled_from(HOSTS)
labels = st.sampled_from(LABELS)
export_to = st.sampled_from(([], ["*"], ["."], ["web"]))
ports = st.lists(
    st.sampled_from(PORTS), min_size=1, max_size=3, unique_by=lambda each: each["name"]
)

places = st.sampled_from(
    (
        {},
        {},
        {"nodeLocal": True},
        {"annotations": DISTRIBUTIONS[1]},
        {"labels": {"topology.istio.io/network": "south"}, "externalAddresses": ["203.0.113.1"]},
    )
)
"""What makes a service depend on where its callers are, or others on it."""

patterns = st.sampled_from(
    ("*/*", "./*", "shop/*", f"*/{HOSTS[0]}", "web/*.web.svc.cluster.local", "~/*")
)


@st.composite
def service_entries(draw: Any) -> dict[str, Any]:
    resolution = draw(st.sampled_from(("STATIC", "DNS", "NONE")))
    spec: dict[str, Any] = {
        "hosts": draw(
            st.lists(
                st.sampled_from((*HOSTS, "api.example.com")), min_size=1, max_size=2, unique=True
            )
        ),
        "ports": draw(ports),
        "resolution": resolution,
        "location": draw(st.sampled_from(("MESH_INTERNAL", "MESH_EXTERNAL"))),
        "exportTo": draw(export_to),
    }
    if draw(st.booleans()):
        spec["addresses"] = [draw(st.sampled_from(("192.0.2.1", "192.0.2.2")))]
    if resolution == "STATIC" and draw(st.booleans()):
        spec["workloadSelector"] = {"labels": draw(labels)}
    elif resolution == "STATIC":
        spec["endpoints"] = draw(st.lists(endpoints(), max_size=3))
    return spec


@st.composite
def endpoints(draw: Any) -> dict[str, Any]:
    return {
        "address": draw(st.sampled_from(IPS)),
        "labels": draw(labels),
        "serviceAccount": draw(st.sampled_from(("", "a", "b"))),
        "locality": draw(st.sampled_from(("", "eu/a", "eu/b", "us/a"))),
        "weight": draw(st.integers(0, 3)),
    }


@st.composite
def virtual_services(draw: Any) -> dict[str, Any]:
    destination = {"host": draw(hosts), "subset": draw(st.sampled_from(("", "v1")))}
    rule: dict[str, Any] = {"route": [{"destination": destination}]}
    if draw(st.booleans()):
        rule["match"] = [{"uri": {"prefix": "/a"}, "sourceLabels": draw(labels)}]
    if draw(st.integers(0, 3)) == 0:
        rule = {"delegate": {"name": draw(names), "namespace": draw(namespaces)}}
    spec: dict[str, Any] = {"http": [rule], "exportTo": draw(export_to)}
    if draw(st.integers(0, 4)):
        spec["hosts"] = [draw(st.sampled_from((*HOSTS, *OUTSIDE, "one", "*")))]
        spec["gateways"] = draw(st.sampled_from(([], ["mesh"], ["shop/gate"])))
    return spec


@st.composite
def destination_rules(draw: Any) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if draw(st.booleans()):
        policy["outlierDetection"] = {"consecutive5xxErrors": draw(st.integers(1, 9))}
    if draw(st.booleans()):
        policy["connectionPool"] = {"tcp": {"maxConnections": draw(st.integers(1, 9))}}
    if draw(st.booleans()):
        policy["tls"] = {"mode": draw(st.sampled_from(("DISABLE", "SIMPLE", "ISTIO_MUTUAL")))}
    spec: dict[str, Any] = {
        "host": draw(st.sampled_from((*HOSTS, "*.shop.svc.cluster.local", "one", "*"))),
        "exportTo": draw(export_to),
        "trafficPolicy": policy,
    }
    if draw(st.booleans()):
        spec["subsets"] = [{"name": "v1", "labels": {"version": "v1"}}]
    if draw(st.integers(0, 3)) == 0:
        spec["workloadSelector"] = {"matchLabels": draw(labels)}
    return spec


@st.composite
def sidecars(draw: Any) -> dict[str, Any]:
    egress: list[dict[str, Any]] = [{"hosts": draw(st.lists(patterns, min_size=1, max_size=2))}]
    if draw(st.booleans()):
        port = {"number": 80, "name": "http", "protocol": "HTTP"}
        egress.insert(0, {"port": port, "hosts": [draw(patterns)]})
    spec: dict[str, Any] = {"egress": egress}
    if draw(st.booleans()):
        spec["workloadSelector"] = {"labels": draw(labels)}
    if draw(st.booleans()):
        spec["outboundTrafficPolicy"] = {"mode": "REGISTRY_ONLY"}
    return spec


@st.composite
def peer_authentications(draw: Any) -> dict[str, Any]:
    mode = st.sampled_from(("UNSET", "DISABLE", "PERMISSIVE", "STRICT"))
    spec: dict[str, Any] = {"mtls": {"mode": draw(mode)}}
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": draw(labels)}
        spec["portLevelMtls"] = {"80": {"mode": draw(mode)}}
    return spec


@st.composite
def request_authentications(draw: Any) -> dict[str, Any]:
    issuers = st.sampled_from(({"issuer": "https://a.test"}, {"jwksUri": KEYS_OF_B}))
    spec: dict[str, Any] = {"jwtRules": draw(st.lists(issuers, max_size=2))}
    if draw(st.booleans()):
        spec["selector"] = {"matchLabels": draw(labels)}
    return spec


mesh_configs = st.sampled_from(
    (
        {},
        {"enableAutoMtls": False},
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        {"defaultServiceExportTo": ["."], "defaultDestinationRuleExportTo": ["."]},
        {"rootNamespace": "web"},
        {"connectTimeout": "3s", "trustDomainAliases": ["old.local"]},
    )
)

SPECS: dict[str, SearchStrategy[dict[str, Any]]] = {
    "ServiceEntry": service_entries(),
    "WorkloadEntry": endpoints(),
    "VirtualService": virtual_services(),
    "DestinationRule": destination_rules(),
    "Sidecar": sidecars(),
    "PeerAuthentication": peer_authentications(),
    "RequestAuthentication": request_authentications(),
}


@st.composite
def configured(draw: Any) -> Put:
    """A configuration object, put or deleted."""
    name = draw(st.sampled_from(sorted(SPECS)))
    kind = next(each for each in kinds.KINDS if each.name == name)
    namespace, own = draw(namespaces), draw(names)
    key = keys.config_key(kind.collection, namespace, own)
    if draw(st.integers(0, 3)) == 0:
        return Put(key, None)
    return Put(key, _packed(kind, draw(SPECS[name]), namespace, own, draw(st.integers(0, 3))))


@st.composite
def mesh_config(draw: Any) -> Put:
    """Mesh-wide settings, put or deleted."""
    kind = kinds.BY_GROUP_KIND["mesh.istio.io", "MeshConfig"]
    key = keys.config_key(kind.collection, "istio-system", "default")
    spec = draw(mesh_configs)
    return Put(key, _packed(kind, spec, "istio-system", "default", 0) if spec else None)


@st.composite
def reported(draw: Any) -> Put:
    """A service, shard or workload that the platform reports, put or deleted."""
    namespace, name = draw(st.sampled_from(("shop", "web"))), draw(names)
    host = f"{name}.{namespace}.{DOMAIN}"
    gone = draw(st.integers(0, 3)) == 0
    match draw(st.sampled_from(("service", "shard", "workload"))):
        case "service":
            key = keys.service_key(namespace, host)
            service = ParseDict(
                {
                    "host": host,
                    "namespace": namespace,
                    "name": name,
                    "registry": "Kubernetes",
                    "addresses": draw(st.sampled_from(([], ["10.96.0.1"]))),
                    "ports": [
                        {**each, "targetPort": each.get("targetPort", 0)} for each in draw(ports)
                    ],
                    "selector": draw(st.sampled_from(({}, *LABELS))),
                    **draw(places),
                },
                registry.Service(),
            )
            if not service.addresses:
                service.headless = True
                service.resolution = registry.RESOLUTION_PASSTHROUGH
            if draw(st.integers(0, 4)) == 0:
                service.resolution = registry.RESOLUTION_ALIAS
                service.alias_of = draw(hosts)
                del service.addresses[:]
            return Put(key, None if gone else service.SerializeToString())
        case "shard":
            shard = draw(st.sampled_from(("east", "west")))
            key = keys.endpoints_key(namespace, host, shard)
            message = registry.EndpointShard(host=host, namespace=namespace, shard=shard)
            for _ in range(draw(st.integers(0, 2))):
                each = message.endpoints.add(
                    address=draw(st.sampled_from(IPS)),
                    namespace=namespace,
                    service_account=draw(st.sampled_from(("", "a"))),
                    health=draw(st.sampled_from(registry.Health.values())),
                    node=draw(st.sampled_from(("", "n1", "n2"))),
                    network=draw(st.sampled_from(("", "", "south"))),
                    tls_mode=draw(st.sampled_from(("", "istio"))),
                )
                each.ports.update({"http": 8080, "tcp": 8081, "any": 8082, "grpc": 8083})
                each.labels.update(draw(labels))
            return Put(key, None if gone else message.SerializeToString())
        case _:
            key = keys.workload_key("east", namespace, name)
            workload = registry.Workload(
                name=name,
                namespace=namespace,
                cluster="east",
                addresses=[draw(st.sampled_from(IPS))],
                labels=draw(labels),
                service_account="a",
                registration_group=draw(st.sampled_from(("", "group"))),
                tls_mode=draw(st.sampled_from(("", "istio"))),
            )
            return Put(key, None if gone else workload.SerializeToString())


@st.composite
def annotated_namespaces(draw: Any) -> Put:
    """A namespace with a traffic distribution, or without."""
    kind, name = kinds.BY_GROUP_KIND["", "Namespace"], draw(st.sampled_from(("shop", "web")))
    resource = Resource.FromString(_packed(kind, {}, "", name, 0))
    resource.metadata.annotations.update(draw(st.sampled_from(({}, *DISTRIBUTIONS))))
    return Put(keys.config_key(kind.collection, "", name), resource.SerializeToString())


@st.composite
def published_keys(draw: Any) -> Put:
    """What an issuer publishes, or failed to, put or deleted."""
    source = draw(st.sampled_from((("", "https://a.test"), (KEYS_OF_B, ""))))
    key = keys.jwks_key(*source)
    if draw(st.integers(0, 3)) == 0:
        return Put(key, None)
    record = PublishedKeys(
        jwks_uri=source[0],
        issuer=source[1],
        keys=draw(st.sampled_from(("", "one", "two"))),
        failure=draw(st.sampled_from(("", "no answer"))),
    )
    record.fetched.seconds = draw(st.integers(1, 3))
    return Put(key, record.SerializeToString(deterministic=True))


changes = st.one_of(
    *(configured() for _ in range(3)),
    *(reported() for _ in range(2)),
    mesh_config(),
    annotated_namespaces(),
    published_keys(),
)


def _packed(
    kind: kinds.Kind, spec: dict[str, Any], namespace: str, name: str, created: int
) -> bytes:
    resource = Resource()
    resource.body.Pack(ParseDict(spec, kind.message()), deterministic=True)
    resource.metadata.name = f"{namespace}/{name}"
    resource.metadata.create_time.seconds = created
    return resource.SerializeToString(deterministic=True)


BASE = """
apiVersion: registry.mast/v1
kind: Service
metadata: {name: one}
spec:
  host: one.shop.svc.cluster.local
  namespace: shop
  name: one
  registry: Kubernetes
  addresses: [10.96.0.1]
  selector: {app: one}
  ports:
  - {name: http, number: 80, targetPort: 8080, protocol: HTTP}
  - {name: tcp, number: 81, targetPort: 8081, protocol: TCP}
  - {name: any, number: 82, targetPort: 8082}
---
apiVersion: registry.mast/v1
kind: Service
metadata: {name: two}
spec:
  host: two.shop.svc.cluster.local
  namespace: shop
  name: two
  registry: Kubernetes
  resolution: RESOLUTION_PASSTHROUGH
  headless: true
  ports: [{name: tcp, number: 81, targetPort: 8081, protocol: TCP}]
---
apiVersion: registry.mast/v1
kind: EndpointShard
metadata: {name: one}
spec:
  host: one.shop.svc.cluster.local
  namespace: shop
  shard: east
  endpoints:
  - address: 10.1.0.1
    ports: {http: 8080, tcp: 8081, any: 8082}
    labels: {app: one}
    namespace: shop
    service_account: a
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one, namespace: web}
spec:
  hosts: [one.web.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 83, name: grpc, protocol: GRPC}]
  workloadSelector: {labels: {app: one}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, namespace: web}
spec: {address: 10.1.0.2, labels: {app: one, version: v1}, serviceAccount: a}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: web}
spec:
  hosts: [one, api.example.com]
  http:
  - {match: [{sourceLabels: {app: one}}], delegate: {name: two, namespace: shop}}
  - {route: [{destination: {host: one}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: shop}
spec:
  http: [{route: [{destination: {host: one.web.svc.cluster.local, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one, namespace: web}
spec:
  host: one
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: two, namespace: shop}
spec:
  workloadSelector: {labels: {app: two}}
  egress: [{hosts: ["web/*", "./one.shop.svc.cluster.local"]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: one, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
"""A mesh in which most objects have to do with each other."""

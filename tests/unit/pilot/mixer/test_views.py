"""Which proxies get Mixer's filters, and when that changes (mixer_proxy.md A39, A40)."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mast.pilot.core.clusters.dns import DNS_CLUSTER
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from tests.support.mesh_yaml import Put, changes, sidecar_proxy, world

WEB = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: shop}
spec: {address: 10.1.0.7, labels: {app: web}}
"""

MIXERS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: istio-policy, namespace: istio-system}
spec:
  hosts: [istio-policy.istio-system.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 15004, name: grpc-mixer, protocol: GRPC}]
  endpoints:
  - {address: 10.9.0.1, serviceAccount: istio-policy-service-account}
  - {address: 10.9.0.2, serviceAccount: istio-policy-service-account}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: istio-telemetry, namespace: istio-system}
spec:
  hosts: [istio-telemetry.istio-system.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: DNS
  ports: [{number: 15004, name: grpc-mixer, protocol: GRPC}]
  endpoints: [{address: telemetry-1.example.com}, {address: telemetry-2.example.com}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: istio-policy, namespace: istio-system}
spec:
  host: istio-policy.istio-system.svc.cluster.local
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: istio-telemetry, namespace: istio-system}
spec:
  host: istio-telemetry.istio-system.svc.cluster.local
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
      subjectAltNames: [spiffe://cluster.local/ns/istio-system/sa/istio-telemetry-service-account]
"""


def mesh(**settings: str) -> str:
    """A MeshConfig with Mixer and further settings."""
    more = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    return f"""
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec:
  mixerCheckServer: istio-policy.istio-system.svc.cluster.local:15004
{more}"""


def pod(**annotations: str) -> Proxy:
    return sidecar_proxy(labels={"app": "web"}, ANNOTATIONS=annotations)


def checks(found: World, proxy: Proxy) -> bool:
    """Whether requests to the proxy's workload are checked."""
    listener = found.snapshot(1).view(proxy).collection(LDS).resources["virtualInbound"]
    return b"ext_authz" in listener.body


def routes(found: World) -> bytes:
    resource = found.snapshot(1).view(pod()).named(RDS, "80")
    assert resource is not None
    return resource.body


def test_checks_are_turned_on_and_off_for_running_proxies() -> None:
    found = world(WEB, mesh(disablePolicyChecks="true"))
    assert not checks(found, pod())
    found.apply(changes(mesh()))
    assert checks(found, pod())
    found.apply(changes(mesh(disablePolicyChecks="true")))
    assert not checks(found, pod())


def test_routes_name_services_while_there_is_mixer() -> None:
    found = world(WEB, mesh())
    assert b"destination.service.host" in routes(found)
    found.apply([Put(each.key, None) for each in changes(mesh())])
    assert b"destination.service.host" not in routes(found)
    found.apply(changes(mesh()))
    assert b"destination.service.host" in routes(found)


def test_only_annotations_of_policy_part_pods() -> None:
    snapshot = world(WEB, mesh()).snapshot(1)
    plain, other, off = (
        snapshot.view(pod()),
        snapshot.view(pod(a="b")),
        snapshot.view(pod(**{"policy.istio.io/check": "disable"})),
    )
    assert plain is other
    assert off is not plain
    assert b"ext_authz" not in off.collection(LDS).resources["virtualInbound"].body


def test_pods_of_one_deployment_share_listeners() -> None:
    snapshot = world(WEB, mesh()).snapshot(1)
    here, there = pod(), sidecar_proxy(ip="10.1.0.8", labels={"app": "web"})
    assert snapshot.view(here) is snapshot.view(there)


def test_policy_and_telemetry_have_replicas_and_accounts_of_their_own() -> None:
    """Found in the registry or by DNS, each known by its own accounts (mixer.md I, services)."""
    report = "istio-telemetry.istio-system.svc.cluster.local:15004"
    view = world(WEB, MIXERS, mesh(mixerReportServer=report)).snapshot(1).view(pod())
    name = "outbound|15004||istio-{}.istio-system.svc.cluster.local"
    account = b"spiffe://cluster.local/ns/istio-system/sa/istio-%s-service-account"
    clusters = {
        role: view.collection(CDS).resources[name.format(role)].body
        for role in ("policy", "telemetry")
    }
    for role, body in clusters.items():
        known = [each for each in clusters if account % each.encode() in body]
        assert known == [role]
    assignment = view.named(EDS, name.format("policy"))
    assert assignment is not None
    policy = ClusterLoadAssignment.FromString(assignment.body)
    assert len(policy.endpoints[0].lb_endpoints) == 2
    telemetry = Cluster.FromString(clusters["telemetry"])
    assert telemetry.cluster_type.name == DNS_CLUSTER
    assert len(telemetry.load_assignment.endpoints[0].lb_endpoints) == 2

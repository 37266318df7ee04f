"""A mesh with a little of everything, and a workload in it."""

from tests.support.mesh_yaml import sidecar_proxy

MESH_A = """
apiVersion: registry.mast/v1
kind: Service
metadata: {name: a}
spec:
  host: a.shop.svc.cluster.local
  namespace: shop
  name: a
  registry: Kubernetes
  addresses: [10.96.0.1]
  ports: [{name: http, number: 80, target_port: 8080, protocol: HTTP}]
"""


MESH = f"""{MESH_A}---
apiVersion: registry.mast/v1
kind: EndpointShard
metadata: {{name: a}}
spec:
  host: a.shop.svc.cluster.local
  namespace: shop
  shard: east
  endpoints:
  - address: 10.1.0.1
    ports: {{http: 8080}}
    service_account: a
    namespace: shop
    tls_mode: istio
  - {{address: 10.1.0.3, ports: {{http: 8080}}, health: HEALTH_UNHEALTHY, namespace: shop}}
---
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: b}}
spec:
  host: b.shop.svc.cluster.local
  namespace: shop
  name: b
  registry: Kubernetes
  addresses: [10.96.0.2]
  ports: [{{name: tcp, number: 81, target_port: 8081, protocol: TCP}}]
---
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: headless}}
spec:
  host: headless.shop.svc.cluster.local
  namespace: shop
  name: headless
  registry: Kubernetes
  resolution: RESOLUTION_PASSTHROUGH
  headless: true
  ports: [{{name: tcp, number: 82, target_port: 8082, protocol: TCP}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: web}}
spec:
  hosts: [web.web.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: web}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: web, namespace: web}}
spec: {{address: 10.1.0.8, labels: {{app: web}}, serviceAccount: web}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a, namespace: shop}}
spec:
  hosts: [a]
  http: [{{route: [{{destination: {{host: a}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a, namespace: shop}}
spec:
  host: a
  subsets: [{{name: v1, labels: {{version: v1}}}}]
"""


WEB = sidecar_proxy("web", ip="10.1.0.8", labels={"app": "web"}, CLUSTER_ID="east")
HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]"
TCP = "ports: [{number: 83, name: tcp, protocol: TCP}]"


def config(kind: str, name: str, namespace: str, spec: str, group: str = "networking") -> str:
    """An object of Istio's API in YAML."""
    return (
        f"apiVersion: {group}.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )

"""What a change of the mesh costs Pilot: CPU time of the snapshot, and of each view after it.

A mesh of 1,000 HTTP services in 50 namespaces, five endpoints each, and one view per namespace
that holds everything. A view is timed from the change until it has all its clusters, listeners,
names, endpoints and routes again.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from mast.common import keys
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.resources import CDS, EDS, LDS, NDS, RDS
from mastapi.registry.v1 import registry_pb2 as registry
from tests.support.mesh_yaml import Put, changes, sidecar_proxy

SERVICES, NAMESPACES, ENDPOINTS, ROUNDS = 1000, 50, 5, 5


def main() -> None:
    """Print one JSON object for each measurement."""
    world = World()
    started = time.process_time()
    world.apply(mesh())
    snapshot = world.snapshot()
    report("snapshot.build", time.process_time() - started)
    proxies = [sidecar_proxy(f"ns-{each}", labels={"app": "x"}) for each in range(NAMESPACES)]
    report("snapshot.first_view", cpu(lambda: resources(snapshot, proxies[0])))
    others = cpu(lambda: [resources(snapshot, each) for each in proxies[1:]])
    report("snapshot.next_view", others / (NAMESPACES - 1))
    for name, change in CHANGES.items():
        measure(name, change, world, proxies)


def measure(
    name: str, change: Callable[[int], Sequence[Put]], world: World, proxies: Sequence[Proxy]
) -> None:
    """Time some changes of a kind, one after the other."""
    snapshots, views, changed = [], [], []
    for number in range(ROUNDS):
        puts = change(number)
        before = [resources(world.snapshot(), each) for each in proxies]

        def follow(puts: Sequence[Put] = puts) -> MeshSnapshot:
            world.apply(puts)
            return world.snapshot()

        snapshots.append(cpu(follow))
        snapshot = world.snapshot()
        started = time.process_time()
        after = [resources(snapshot, each) for each in proxies]
        views.append((time.process_time() - started) / len(proxies))
        changed.append(
            sum(
                len({key for key, each in now.items() if old.get(key) is not each})
                for old, now in zip(before, after, strict=True)
            )
            / len(proxies)
        )
    report(f"snapshot.{name}", median(snapshots))
    report(f"snapshot.{name}.view", median(views), resources_changed=median(changed))


def resources(snapshot: MeshSnapshot, proxy: Proxy) -> dict[tuple[str, str], object]:
    """Everything a view holds."""
    view = snapshot.view(proxy)
    found: dict[tuple[str, str], object] = {}
    for type_url in (CDS, LDS, NDS):
        found.update(((type_url, each.name), each) for each in view.collection(type_url))
    for name in view.collection(CDS).requires:
        found[EDS, name] = view.named(EDS, name)
    found[RDS, "80"] = view.named(RDS, "80")
    return found


def mesh() -> Iterator[Put]:
    for number in range(SERVICES):
        yield service(number)
        yield shard(number, ENDPOINTS)


def service(number: int) -> Put:
    namespace = f"ns-{number % NAMESPACES}"
    host = f"s-{number}.{namespace}.svc.cluster.local"
    made = registry.Service(
        host=host,
        namespace=namespace,
        name=f"s-{number}",
        registry="Kubernetes",
        addresses=[f"10.96.{number >> 8}.{number & 255}"],
        ports=[registry.Port(name="http", number=80, target_port=8080, protocol="HTTP")],
    )
    return Put(keys.service_key(namespace, host), made.SerializeToString())


def shard(number: int, count: int) -> Put:
    namespace = f"ns-{number % NAMESPACES}"
    host = f"s-{number}.{namespace}.svc.cluster.local"
    made = registry.EndpointShard(host=host, namespace=namespace, shard="east")
    for each in range(count):
        made.endpoints.add(
            address=f"10.{each + 1}.{number >> 8}.{number & 255}",
            ports={"http": 8080},
            service_account=f"s-{number}",
            namespace=namespace,
            tls_mode="istio",
            labels={"app": f"s-{number}", "version": "v1"},
            workload_name=f"s-{number}-{each}",
        )
    return Put(keys.endpoints_key(namespace, host, "east"), made.SerializeToString())


def virtual_service(number: int) -> Sequence[Put]:
    return list(
        changes(
            f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: ns-1}}
spec: {{hosts: [s-1], http: [{{timeout: {number + 1}s, route: [{{destination: {{host: s-1}}}}]}}]}}
"""
        )
    )


CHANGES: dict[str, Callable[[int], Sequence[Put]]] = {
    "endpoint": lambda number: [shard(7, ENDPOINTS + 1 + number)],
    "virtual_service": virtual_service,
    "new_service": lambda number: [
        service(SERVICES + number),
        shard(SERVICES + number, ENDPOINTS),
    ],
}


def cpu(action: Callable[[], object]) -> float:
    """Seconds of CPU that an action takes."""
    started = time.process_time()
    action()
    return time.process_time() - started


def report(name: str, seconds: float, **more: object) -> None:
    value = {"name": name, "value": round(seconds * 1000, 3), "unit": "ms CPU", **more}
    print(json.dumps(value), flush=True)  # noqa: T201 - the benchmark's output


if __name__ == "__main__":
    main()

"""Following the store: merging, precedence, bad values, mesh settings."""

from collections.abc import Sequence

import pytest

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import ServiceKey
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.world import World
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.support.mesh_yaml import Put, changes, world

A = "a.shop.svc.cluster.local"


def service_entry(name: str, spec: str, namespace: str = "shop", created: str = "") -> str:
    time = f", creationTimestamp: {created}" if created else ""
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}, namespace: {namespace}{time}}}\nspec: {spec}\n---\n"
    )


def service(host: str, more: str = "", namespace: str = "shop") -> str:
    return (
        "apiVersion: registry.mast/v1\nkind: Service\nmetadata: {name: x}\n"
        f"spec: {{host: {host}, namespace: {namespace}, registry: Kubernetes, "
        f"ports: [{{name: http, number: 80, protocol: HTTP}}]{more}}}\n---\n"
    )


def shard(host: str, name: str, address: str, ports: str = "{http: 8080}") -> str:
    return (
        "apiVersion: registry.mast/v1\nkind: EndpointShard\nmetadata: {name: x}\n"
        f"spec: {{host: {host}, namespace: shop, shard: {name}, "
        f"endpoints: [{{address: {address}, ports: {ports}}}]}}\n---\n"
    )


def workload_entry(name: str, spec: str, namespace: str = "shop") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )


def workload(name: str, address: str, more: str = "") -> str:
    return (
        "apiVersion: registry.mast/v1\nkind: Workload\nmetadata: {name: x}\n"
        f"spec: {{name: {name}, namespace: shop, cluster: east, addresses: [{address}], "
        f"labels: {{app: a}}{more}}}\n---\n"
    )


def seen(mesh: World, namespace: str = "shop") -> Scope:
    return mesh.snapshot().scope(namespace)


def addresses(mesh: World, host: str = A, namespace: str = "shop") -> Sequence[str]:
    return [each.address for each in seen(mesh).endpoints(ServiceKey(namespace, host))]


SELECTING = f"{{hosts: [{A}], resolution: STATIC, ports: [{{number: 80, name: http}}], workloadSelector: {{labels: {{app: a}}}}}}"  # noqa: E501


def test_entries_of_one_host_and_namespace_are_merged_oldest_first() -> None:
    mesh = world(
        service_entry(
            "new",
            "{hosts: [x.test], addresses: [192.0.2.2], resolution: DNS, location: MESH_INTERNAL, "
            "ports: [{number: 80, name: http, protocol: GRPC}, {number: 81, name: tcp}], "
            "endpoints: [{address: b.test}]}",
            created="2021-01-01T00:00:00Z",
        ),
        service_entry(
            "old",
            "{hosts: [x.test], addresses: [192.0.2.1], resolution: STATIC, "
            "ports: [{number: 80, name: http, protocol: HTTP}], "
            "endpoints: [{address: 10.0.0.1}]}",
            created="2020-01-01T00:00:00Z",
        ),
    )
    found = seen(mesh).service("x.test")
    assert found is not None
    assert found.origin == "old"
    assert found.external
    assert found.resolution == "STATIC"
    assert [(each.number, each.protocol) for each in found.ports] == [(80, "HTTP"), (81, "")]
    assert found.addresses == ("192.0.2.1", "192.0.2.2")
    ports = {each.address: each.ports for each in seen(mesh).endpoints(found.key)}
    assert ports == {"10.0.0.1": {80: 80}, "b.test": {80: 80, 81: 81}}


def test_a_platform_service_hides_entries_of_its_host() -> None:
    mesh = world(
        service_entry("older", f"{{hosts: [{A}], ports: [{{number: 81, name: tcp}}]}}"), service(A)
    )
    found = seen(mesh).service(A)
    assert found is not None
    assert found.from_kubernetes
    assert [each.number for each in found.ports] == [80]


@pytest.mark.parametrize(
    ("namespace", "owner"),
    [
        pytest.param("shop", "shop", id="own"),
        pytest.param("web", "web", id="also-own"),
        pytest.param("other", "shop", id="platform-before-older-entry"),
    ],
)
def test_whose_service_a_namespace_sees(namespace: str, owner: str) -> None:
    mesh = world(
        service_entry("e", f"{{hosts: [{A}], ports: [{{number: 80, name: http}}]}}", "web"),
        service(A),
    )
    found = seen(mesh, namespace).service(A)
    assert found is not None
    assert found.namespace == owner


def test_selected_workloads_of_all_kinds() -> None:
    mesh = world(
        service_entry("e", SELECTING),
        workload_entry("vm", "{address: 10.0.0.1, labels: {app: a}, ports: {http: 9}}"),
        workload_entry("other", "{address: 10.0.0.2, labels: {app: b}}"),
        workload_entry("elsewhere", "{address: 10.0.0.3, labels: {app: a}}", "web"),
        workload_entry("nowhere", "{labels: {app: a}}"),
        workload("pod", "10.0.0.4"),
        workload("laptop", "10.0.0.5", ", registration_group: g"),
    )
    assert addresses(mesh) == ["10.0.0.1", "10.0.0.4", "10.0.0.5"]


def test_pods_of_a_platform_service_come_in_shards_only() -> None:
    mesh = world(
        service(A, ", selector: {app: a}"),
        workload("pod", "10.0.0.4"),
        workload_entry("vm", "{address: 10.0.0.1, labels: {app: a}}"),
        shard(A, "east", "10.0.0.6"),
        shard(A, "west", "10.0.0.7", "{other: 1}"),
    )
    assert addresses(mesh) == ["10.0.0.1", "10.0.0.6", "10.0.0.7"]
    ports = {each.address: each.ports for each in seen(mesh).endpoints(ServiceKey("shop", A))}
    assert ports["10.0.0.6"] == {80: 8080}
    assert ports["10.0.0.7"] == {}


def test_endpoints_of_equal_shards_are_told_apart_by_cluster() -> None:
    mesh = world(service(A), shard(A, "east", "10.0.0.6"), shard(A, "west", "10.0.0.6"))
    assert [each.cluster for each in seen(mesh).endpoints(ServiceKey("shop", A))] == [
        "east",
        "west",
    ]


def test_an_empty_selector_selects_nothing() -> None:
    spec = "{hosts: [x.test], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {}}"  # noqa: E501
    mesh = world(service_entry("e", spec), workload("pod", "10.0.0.4"))
    assert not addresses(mesh, "x.test")


def test_workloads_and_shards_go() -> None:
    texts = (service_entry("e", SELECTING), workload("pod", "10.0.0.4"), shard(A, "x", "10.0.0.6"))
    mesh = world(*texts)
    assert addresses(mesh) == ["10.0.0.4", "10.0.0.6"]
    assert seen(mesh).workloads_at("10.0.0.4")
    mesh.apply(Put(each.key, None) for each in changes(*texts[1:]))
    assert not addresses(mesh)
    assert not seen(mesh).workloads_at("10.0.0.4")
    assert not seen(mesh).services_at("10.0.0.4")


def test_the_identities_behind_a_service() -> None:
    mesh = world(
        service_entry("e", SELECTING),
        workload_entry("one", "{address: 10.0.0.1, labels: {app: a}, serviceAccount: z}"),
        workload_entry("two", "{address: 10.0.0.2, labels: {app: a}, serviceAccount: b}"),
    )
    found = seen(mesh).identities(ServiceKey("shop", A))
    assert found == ((("shop", "b"), ("shop", "z")), True)
    mesh.apply(changes(workload_entry("three", "{address: 10.0.0.3, labels: {app: a}}")))
    assert not seen(mesh).identities(ServiceKey("shop", A)).mtls
    assert seen(mesh).identities(ServiceKey("shop", "nobody")) == ((), False)


ALIAS = ", resolution: RESOLUTION_ALIAS, alias_of: x.test"
TARGET = service_entry("target", "{hosts: [x.test], ports: [{number: 80, name: http}]}")


def test_an_alias_stands_for_its_target() -> None:
    mesh = world(service(A, ALIAS), TARGET)
    found = seen(mesh).service(A)
    assert found is not None
    assert found.host == "x.test"
    assert found.aliases == (A,)
    assert [each.host for each in seen(mesh).services()] == ["x.test"]
    mesh.apply([Put(next(iter(changes(service(A, ALIAS)))).key, None)])
    again = seen(mesh).service("x.test")
    assert again is not None
    assert again.aliases == ()
    assert seen(mesh).service(A) is None


def test_aliases_of_aliases_stand_for_the_last_target() -> None:
    middle = "m.shop.svc.cluster.local"
    first = service(A, f", resolution: RESOLUTION_ALIAS, alias_of: {middle}")
    second = service(middle, ALIAS)
    mesh = world(first, TARGET)
    assert seen(mesh).service(A) is None
    mesh.apply(changes(second))
    for host in (A, middle, "x.test"):
        found = seen(mesh).service(host)
        assert found is not None
        assert (found.host, found.aliases) == ("x.test", (A, middle))
    mesh.apply([Put(next(iter(changes(second))).key, None)])
    left = seen(mesh).service("x.test")
    assert left is not None
    assert left.aliases == ()


def test_a_service_entry_takes_nothing_from_an_alias_of_its_name() -> None:
    entry = service_entry("same", f"{{hosts: [{A}], ports: [{{number: 80, name: http}}]}}", "web")
    mesh = world(service(A, ALIAS), TARGET, entry)
    found = seen(mesh).service("x.test")
    assert found is not None
    assert found.aliases == (A,)


def namespace(annotations: str) -> str:
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: shop{annotations}}}}}"


@pytest.mark.parametrize(
    ("own", "of_namespace", "expected"),
    [
        ("", "", ""),
        ("", "PreferClose", "PreferClose"),
        ("PreferSameNode", "PreferClose", "PreferSameNode"),
    ],
)
def test_namespaces_say_which_endpoints_come_first(
    own: str, of_namespace: str, expected: str
) -> None:
    name = "networking.istio.io/traffic-distribution"
    mesh = world(service(A, f", annotations: {{{name}: {own}}}" if own else ""))
    told = f", annotations: {{{name}: {of_namespace}}}" if of_namespace else ""
    mesh.apply(changes(namespace(told)))
    found = seen(mesh).service(A)
    assert found is not None
    assert found.traffic_distribution == expected
    mesh.apply(changes(namespace("")))
    again = seen(mesh).service(A)
    assert again is not None
    assert again.traffic_distribution == own


def test_aliases_of_nothing_and_of_each_other_lead_nowhere() -> None:
    mesh = world(
        service(A, ALIAS), service("x.test", f", resolution: RESOLUTION_ALIAS, alias_of: {A}")
    )
    assert seen(mesh).service(A) is None
    assert seen(world(service(A, ALIAS))).service(A) is None


def test_automatic_addresses_are_withdrawn_when_there_are_others() -> None:
    without = "{hosts: [x.test], resolution: STATIC, ports: [{number: 80, name: http}]}"
    mesh = world(service_entry("e", without))
    found = seen(mesh).service("x.test")
    assert found is not None
    assert len(found.auto_addresses) == 2
    mesh.apply(
        changes(service_entry("f", without.replace("STATIC", "STATIC, addresses: [192.0.2.1]")))
    )
    found = seen(mesh).service("x.test")
    assert found is not None
    assert (found.addresses, found.auto_addresses) == (("192.0.2.1",), ())


def test_a_bad_value_changes_nothing_but_the_report() -> None:
    mesh = world(service_entry("e", SELECTING))
    (good,) = changes(service_entry("e", SELECTING))
    before = seen(mesh).service(A)
    rejections = mesh.apply([Put(good.key, b"\xff"), Put("nonsense", b"")])
    assert [each.key for each in rejections] == [good.key, "nonsense"]
    assert mesh.rejected.keys() == {good.key, "nonsense"}
    assert "Error parsing" in mesh.rejected[good.key]
    assert seen(mesh).service(A) == before
    assert not mesh.apply([good, Put("nonsense", None)])
    assert not mesh.rejected
    mesh.apply([Put(good.key, None)])
    assert seen(mesh).service(A) is None


def test_a_value_of_a_later_api_is_kept_out() -> None:
    mesh = World()
    (put,) = changes(service_entry("e", "{hosts: [x.test], resolution: DYNAMIC_DNS}"))
    assert put.value is not None
    later = put.value.replace(b"\x28\x04", b"\x28\x63")
    assert later != put.value
    (rejection,) = mesh.apply([Put(put.key, later)])
    assert "resolution: value 99 is unknown" in rejection.reason


MESH = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {{name: {name}, namespace: istio-system}}
spec: {spec}
"""


def test_export_defaults_of_the_mesh_hold_for_what_is_already_there() -> None:
    entry = service_entry("e", "{hosts: [x.test], ports: [{number: 80, name: http}]}")
    mesh = world(entry, service(A))
    assert seen(mesh, "web").service("x.test")
    settings = MESH.format(name="default", spec="{defaultServiceExportTo: ['.']}")
    mesh.apply(changes(settings))
    assert seen(mesh, "web").service("x.test") is None
    assert seen(mesh, "web").service(A) is None
    assert seen(mesh, "shop").service("x.test")
    mesh.apply(Put(each.key, None) for each in changes(settings))
    assert seen(mesh, "web").service("x.test")


def test_of_several_mesh_configurations_the_oldest_counts() -> None:
    mesh = world(
        MESH.format(name="default", spec="{trustDomain: one}"),
        "---",
        MESH.format(name="other", spec="{trustDomain: two}"),
    )
    assert seen(mesh).mesh.trust_domain == "one"


def test_networks() -> None:
    text = MESH.format(name="default", spec="{networks: {n: {endpoints: [{fromRegistry: east}]}}}")
    mesh = world(text.replace("MeshConfig", "MeshNetworks"))
    assert list(seen(mesh).mesh.networks.networks) == ["n"]


def test_trust_bundles() -> None:
    mesh = World()
    bundle = TrustBundle(trust_domain="td", sequence=3)
    mesh.apply([Put("trust/td", bundle.SerializeToString())])
    assert mesh.snapshot().index.trust == {"td": bundle}
    renamed = TrustBundle(trust_domain="other")
    mesh.apply([Put("trust/td", renamed.SerializeToString())])
    assert mesh.snapshot().index.trust == {"other": renamed}
    mesh.apply([Put("trust/td", None)])
    assert mesh.snapshot().index.trust == {}


def test_deleting_what_is_not_there_is_no_change() -> None:
    mesh = world(service(A))
    before = mesh.snapshot(1)
    assert not mesh.apply([Put("config/istio/networking/v1alpha3/sidecars/a/b", None)])
    assert mesh.snapshot(2).index is before.index


def test_objects_are_found_by_collection_and_namespace() -> None:
    mesh = world(service_entry("e", SELECTING), service_entry("f", SELECTING, "web"))
    scope = seen(mesh)
    assert [each.meta.name for each in scope.configs(collection_names.SERVICE_ENTRIES, "web")] == [
        "f"
    ]
    assert len(scope.visible(collection_names.SERVICE_ENTRIES)) == 2
    assert scope.config(collection_names.SERVICE_ENTRIES, "web", "f") is not None
    assert scope.config(collection_names.SERVICE_ENTRIES, "web", "e") is None


def test_what_it_was_told_can_be_compared() -> None:
    """pilot.md N6: for the self-check."""
    told = list(changes(SERVICE_OF_A_CHECK))
    made = world(SERVICE_OF_A_CHECK)
    ((key, value),) = [(each.key, each.value) for each in told]
    assert value is not None
    assert made.differing([(key, value)]) == []
    assert made.differing([(key, b"other"), ("config/x/y/z", value)]) == [key, "config/x/y/z"]
    assert made.besides("config/", {"config/x/y/z"}) == [key]
    assert made.besides("config/", {key}) == []
    assert made.besides("registry/", set()) == []
    assert made.among([key, "config/x/y/z"]) == [key]
    made.apply([Put(key, b"\xff")])
    assert made.differing([(key, b"\xff")]) == []
    made.apply([Put(key, None)])
    assert made.among([key]) == []


SERVICE_OF_A_CHECK = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.test], ports: [{number: 80, name: http, protocol: HTTP}]}}
"""

"""Workloads and adapter kubernetesenv (mixer.md G.3; checklist 40)."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from mast.mixer.adapters import kubernetesenv
from mast.mixer.core.adapter import HandlerConfig, Instance
from mast.mixer.core.values import Value
from mast.mixer.core.workloads import Pod, Workloads, packed_ip, pod_of_entry, pod_of_workload
from mastapi.registry.v1.registry_pb2 import Workload

REVIEWS = ParseDict(
    {
        "name": "reviews-v1-abc",
        "namespace": "shop",
        "addresses": ["10.0.0.1", "2001:db8::1"],
        "labels": {"app": "reviews", "version": "v1"},
        "serviceAccount": "bookinfo",
        "node": "192.168.0.1",
        "workloadName": "reviews-v1",
        "owner": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1",
        "containers": {"9080": "app", "15020": "istio-proxy"},
    },
    Workload(),
)
BARE = Workload(name="a.dotted.pod", namespace="shop", addresses=["10.0.0.2", "host"], node="n1")


def known() -> Workloads:
    workloads = Workloads()
    for key, each in (("1", REVIEWS), ("2", BARE)):
        workloads.put(key, pod_of_workload(each))
    return workloads


def generate(workloads: Workloads, **fields: Any) -> dict[str, Value]:
    adapter = kubernetesenv.adapter(workloads)
    handler: Any = adapter.build(HandlerConfig("h", "kubernetesenv", adapter.defaults))
    unset = {
        "source_uid": "",
        "source_ip": None,
        "destination_uid": "",
        "destination_ip": None,
        "destination_port": 0,
    }
    instance = Instance("i", "kubernetes", {**unset, **fields})
    return dict(handler.generate(instance))


def test_everything_that_a_pod_has() -> None:
    assert generate(known(), source_uid="kubernetes://reviews-v1-abc.shop") == {
        "source_pod_uid": "kubernetes://reviews-v1-abc.shop",
        "source_pod_ip": bytes([10, 0, 0, 1]),
        "source_pod_name": "reviews-v1-abc",
        "source_labels": {"app": "reviews", "version": "v1"},
        "source_namespace": "shop",
        "source_service_account_name": "bookinfo",
        "source_host_ip": bytes([192, 168, 0, 1]),
        "source_workload_uid": "istio://shop/workloads/reviews-v1",
        "source_workload_name": "reviews-v1",
        "source_workload_namespace": "shop",
        "source_owner": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1",
    }


def test_only_what_a_pod_has_and_the_pod_as_its_own_owner() -> None:
    assert generate(known(), destination_uid="kubernetes://a.dotted.pod.shop") == {
        "destination_pod_uid": "kubernetes://a.dotted.pod.shop",
        "destination_pod_ip": bytes([10, 0, 0, 2]),
        "destination_pod_name": "a.dotted.pod",
        "destination_namespace": "shop",
        "destination_workload_uid": "istio://shop/workloads/a.dotted.pod",
        "destination_workload_name": "a.dotted.pod",
        "destination_workload_namespace": "shop",
        "destination_owner": "kubernetes://apis/v1/namespaces/shop/pods/a.dotted.pod",
    }


def test_the_container_is_the_one_behind_the_port() -> None:
    found = generate(known(), destination_ip=bytes([10, 0, 0, 1]), destination_port=9080)
    assert found["destination_container_name"] == "app"
    found = generate(known(), destination_ip=bytes([10, 0, 0, 1]), destination_port=1)
    assert "destination_container_name" not in found
    assert found["destination_pod_name"] == "reviews-v1-abc"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        pytest.param({"source_ip": bytes([10, 0, 0, 1])}, "reviews-v1-abc", id="ip"),
        pytest.param({"source_ip": bytes(10) + b"\xff\xff\x0a\x00\x00\x01"}, "reviews-v1-abc",
                     id="ip-in-sixteen-bytes"),
        pytest.param({"source_ip": packed_ip("2001:db8::1")}, "reviews-v1-abc", id="second-ip"),
        pytest.param({"source_uid": "kubernetes://a.dotted.pod.shop",
                      "source_ip": bytes([10, 0, 0, 1])}, "a.dotted.pod", id="uid-before-ip"),
        pytest.param({"source_uid": "kubernetes://gone.shop",
                      "source_ip": bytes([10, 0, 0, 1])}, None,
                     id="unknown-uid-is-not-looked-by-ip"),
        pytest.param({"source_ip": bytes(4)}, None, id="unspecified"),
        pytest.param({"source_ip": bytes(16)}, None, id="unspecified-v6"),
        pytest.param({"source_ip": bytes([10, 9, 9, 9])}, None, id="unknown-ip"),
        pytest.param({}, None, id="nothing-known"),
        pytest.param({"source_uid": "nodots"}, None, id="no-namespace"),
    ],
)  # fmt: skip
def test_lookup(fields: dict[str, Any], name: str | None) -> None:
    assert generate(known(), **fields).get("source_pod_name") == name


def test_workload_entries() -> None:
    workloads = Workloads()
    entry = ParseDict(
        {"address": "10.0.0.3", "labels": {"app": "db"}, "serviceAccount": "db"}, WorkloadEntry()
    )
    workloads.put("k", pod_of_entry("db-1", "vms", entry, {}))
    found = generate(workloads, source_ip=bytes([10, 0, 0, 3]))
    assert found["source_workload_name"] == "db-1"
    assert found["source_service_account_name"] == "db"
    assert found["source_owner"] == (
        "kubernetes://apis/networking.istio.io/v1alpha3/namespaces/vms/workloadentries/db-1"
    )
    grouped = pod_of_entry("db-1", "vms", entry, {"istio.io/autoRegistrationGroup": "db"})
    assert (grouped.workload, grouped.owner.rpartition("vms/")[2]) == ("db", "workloadgroups/db")
    entry.labels["service.istio.io/workload-name"] = "database"
    assert pod_of_entry("db-1", "vms", entry, {}).workload == "database"
    entry.address = "db.example.com"
    assert pod_of_entry("db-1", "vms", entry, {}).addresses == ()


def test_the_generation_follows_the_workloads() -> None:
    workloads = Workloads()
    handler: Any = kubernetesenv.KubernetesEnvironment(workloads)
    seen = [handler.generation]
    pod = pod_of_workload(REVIEWS)
    workloads.put("1", pod)
    seen.append(handler.generation)
    workloads.put("1", pod)
    assert handler.generation == seen[-1]
    workloads.remove("1")
    seen.append(handler.generation)
    workloads.remove("1")
    assert handler.generation == seen[-1]
    assert len(set(seen)) == 3


def test_a_changed_workload_is_described_anew() -> None:
    workloads = known()
    handler: Any = kubernetesenv.KubernetesEnvironment(workloads)
    fields = {"source_uid": "kubernetes://reviews-v1-abc.shop", "source_ip": None,
              "destination_uid": "kubernetes://reviews-v1-abc.shop", "destination_ip": None,
              "destination_port": 0}  # fmt: skip
    instance = Instance("i", "kubernetes", fields)
    assert handler.generate(instance) == handler.generate(instance)
    changed = Workload()
    changed.CopyFrom(REVIEWS)
    changed.labels["version"] = "v2"
    workloads.put("1", pod_of_workload(changed))
    found = handler.generate(instance)
    assert found["source_labels"]["version"] == found["destination_labels"]["version"] == "v2"


def test_a_changed_workload_is_found_by_its_new_names_only() -> None:
    workloads = Workloads()
    workloads.put("k", Pod("old", "ns", (b"\x01\x02\x03\x04",)))
    workloads.put("k", Pod("new", "ns", (b"\x01\x02\x03\x05",)))
    assert workloads.find("kubernetes://old.ns", None) is None
    assert workloads.find("", b"\x01\x02\x03\x04") is None
    assert workloads.find("", b"\x01\x02\x03\x05") == workloads.find("kubernetes://new.ns", None)


def test_of_workloads_that_share_an_address_the_last_one_is_found() -> None:
    workloads = Workloads()
    workloads.put("1", Pod("one", "ns", (b"\x01\x02\x03\x04",)))
    workloads.put("2", Pod("two", "ns", (b"\x01\x02\x03\x04",)))
    found = workloads.find("", b"\x01\x02\x03\x04")
    assert found is not None
    assert found.name == "two"
    workloads.remove("2")
    found = workloads.find("", b"\x01\x02\x03\x04")
    assert found is not None
    assert found.name == "one"

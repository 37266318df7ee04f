"""Metrics have names and labels that dashboards know, and few values (pilot.md M3)."""

from mast.common.etcd import Change
from mast.common.process.telemetry import Metrics
from mast.pilot.api.instruments import BUCKETS, FAULTS, Instruments
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.xds.resources import CDS, SDS


def lines(metrics: Metrics, name: str) -> list[str]:
    return [each for each in metrics.render().splitlines() if each.startswith(name)]


def test_pushes_are_counted_by_type():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    instruments.sent(CDS, 5_000, 0.2)
    instruments.sent("type.googleapis.com/made.up.By.A.Client", 10, 0.1)
    instruments.send_failed(CDS)
    assert sorted(lines(metrics, "pilot_xds_pushes")) == [
        'pilot_xds_pushes{type="cds"} 1',
        'pilot_xds_pushes{type="cds_senderr"} 1',
        'pilot_xds_pushes{type="other"} 1',
    ]
    assert lines(metrics, 'pilot_xds_push_time_bucket{le="0.5",type="cds"}') == [
        'pilot_xds_push_time_bucket{le="0.5",type="cds"} 1'
    ]
    sizes = lines(metrics, 'pilot_xds_config_size_bytes_bucket{le="10000",type="cds"}')
    assert sizes == ['pilot_xds_config_size_bytes_bucket{le="10000",type="cds"} 1']


def test_rejections_tell_who_and_why():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    for _ in range(2):
        instruments.rejected(CDS, "web", "bad")
    instruments.rejected(SDS, "web", "bad")
    assert lines(metrics, "pilot_xds_cds_reject") == [
        'pilot_xds_cds_reject{err="bad",node="web"} 2'
    ]
    assert sorted(lines(metrics, "pilot_total_xds_rejects")) == [
        'pilot_total_xds_rejects{type="cds"} 2',
        'pilot_total_xds_rejects{type="sds"} 1',
    ]


def test_who_and_why_are_bounded():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    for number in range(1_100):
        instruments.rejected(CDS, f"proxy-{number}", "x" * 10_000)
    found = lines(metrics, "pilot_xds_cds_reject")
    assert len(found) == 1000
    assert max(map(len, found)) < 300
    assert lines(metrics, "pilot_total_xds_rejects") == ['pilot_total_xds_rejects{type="cds"} 1100']


def test_the_replica_tells_its_version():
    metrics = Metrics("pilot", buckets=BUCKETS)
    Instruments(metrics, "1.0")
    assert lines(metrics, "pilot_info") == ['pilot_info{version="1.0"} 1']
    assert lines(metrics, "istio_build") == ['istio_build{component="pilot",tag="1.0"} 1']


def test_clients_are_counted_by_their_version():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    for version, change in (("1.30.3", 1), ("1.30.3", 1), ("", 1), ("1.30.3", -1)):
        instruments.connected(version, change)
    assert sorted(lines(metrics, "pilot_xds{")) == [
        'pilot_xds{version="1.30.3"} 1',
        'pilot_xds{version="unknown"} 1',
    ]


def test_every_fault_has_a_metric_that_rises_and_falls():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    assert FAULTS.keys() == set(Fault)
    found = [
        Finding(fault=each, key=key, message="", subject=ObjectName("x/y", "shop", "f"))
        for each in Fault
        for key in "ab"
    ]
    names = {each: f"{each} " for each in Fault}
    names[Fault.PATCH] = 'pilot_envoy_filter_status{name="shop/f",result="error"} '
    instruments.found(found)
    for name in names.values():
        assert lines(metrics, name) == [f"{name}2"]
    instruments.found(found[1:])
    assert lines(metrics, names[found[0].fault]) == [f"{found[0].fault} 1"]
    instruments.found([])
    for name in names.values():
        assert lines(metrics, name) == [f"{name}0"]


def test_faults_are_zero_before_anything_is_found():
    metrics = Metrics("pilot", buckets=BUCKETS)
    Instruments(metrics, "1.0")
    assert lines(metrics, "pilot_no_ip ") == ["pilot_no_ip 0"]


def test_changes_are_counted_by_kind_and_event():
    metrics = Metrics("pilot", buckets=BUCKETS)
    instruments = Instruments(metrics, "1.0")
    config = "config/istio/networking/v1alpha3/gateways/shop/"
    instruments.updated(
        "config",
        [
            Change(config + "a", b"new", 1, 1, None),
            Change(config + "b", b"new", 2, 1, b"old"),
            Change(config + "c", None, 3, 0, b"old"),
            Change("config/nonsense", b"", 4, 1, None),
            Change("config/x/y/z/name", b"", 5, 1, None),
        ],
    )
    instruments.updated("workload", [Change("registry/workloads/c/n/a", b"x", 1, 1, None)])
    assert sorted(lines(metrics, "pilot_k8s_cfg_events{")) == [
        'pilot_k8s_cfg_events{event="add",type="Gateway"} 1',
        'pilot_k8s_cfg_events{event="add",type="other"} 2',
        'pilot_k8s_cfg_events{event="delete",type="Gateway"} 1',
        'pilot_k8s_cfg_events{event="update",type="Gateway"} 1',
    ]
    assert lines(metrics, "pilot_k8s_reg_events{") == [
        'pilot_k8s_reg_events{event="add",type="Pods"} 1'
    ]
    assert sorted(lines(metrics, "pilot_inbound_updates{")) == [
        'pilot_inbound_updates{type="config"} 5',
        'pilot_inbound_updates{type="workload"} 1',
    ]

"""Workloads that register themselves (pilot.md D9)."""

from datetime import UTC, datetime, timedelta

import pytest

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.xds import registration
from mast.pilot.core.xds.access import NotAllowed
from mastapi.registry.v1.registry_pb2 import Health, Workload
from tests.fakes.pilot_views import proxy

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
WEB = SpiffeId("cluster.local", "shop", "web")


def group(**template):
    made = WorkloadGroup(template=template)
    made.metadata.labels.update({"app": "web", "from": "group"})
    made.metadata.annotations["note"] = "x"
    made.template.labels.update({"app": "template", "version": "v1"})
    return made


def member(**metadata):
    return proxy(AUTO_REGISTER_GROUP="web-v1", **metadata)


def registered(who=None, identity=WEB, of=None, controller="pilot-1", at=NOON):
    return registration.workload(who or member(), identity, of or group(), controller, at)


def test_a_proxy_is_a_workload_of_its_group():
    found = registered(
        member(
            LABELS={"from": "proxy"},
            CLUSTER_ID="c1",
            NETWORK="n1",
            NODE_NAME="host",
            OWNER="owner",
            INSTANCE_IPS="10.1.0.1,fd00::1",
        ),
        of=group(ports={"http": 8080}, weight=3, locality="r/z", network="other"),
    )
    expected = Workload(
        name="web-v1-10.1.0.1-n1",
        namespace="shop",
        cluster="c1",
        addresses=["10.1.0.1", "fd00::1"],
        labels={"app": "web", "version": "v1", "from": "proxy"},
        annotations={"note": "x"},
        service_account="web",
        locality="r/z",
        network="n1",
        node="host",
        workload_name="web-v1",
        owner="owner",
        health=Health.HEALTH_HEALTHY,
        ports={"http": 8080},
        weight=3,
        tls_mode="istio",
        registration_group="web-v1",
        controller="pilot-1",
    )
    expected.create_time.FromDatetime(NOON)
    expected.connected_at.FromDatetime(NOON)
    assert found == expected
    assert registration.key(found) == "registry/workloads/c1/shop/web-v1-10.1.0.1-n1"


def test_defaults():
    found = registered()
    assert found.cluster == "Kubernetes"
    assert found.network == ""
    assert registered(of=group(network="n2")).network == "n2"


def test_a_label_turns_mutual_tls_off():
    labels = {"security.istio.io/tlsMode": "disabled"}
    assert registered(member(LABELS=labels)).tls_mode == "disabled"


def test_a_checked_workload_begins_unhealthy():
    checked = group()
    checked.probe.http_get.port = 80
    assert registered(of=checked).health == Health.HEALTH_UNHEALTHY


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        pytest.param(("web", "10.0.0.1", ""), "web-10.0.0.1", id="v4"),
        pytest.param(("web", "10.0.0.1", "n1"), "web-10.0.0.1-n1", id="network"),
        pytest.param(("web", "fd00::1", ""), "web-fd00--1", id="v6"),
        pytest.param(("x" * 300, "10.0.0.1", ""), "x" * 244 + "-10.0.0.1", id="long"),
    ],
)
def test_names(parts, name):
    assert registration.workload_name(*parts) == name
    assert len(name) <= 253


@pytest.mark.parametrize(
    ("who", "identity", "of", "reason"),
    [
        pytest.param(
            member(NAMESPACE="bank"), WEB, group(), "is of namespace 'shop'", id="namespace"
        ),
        pytest.param(
            member(), WEB, group(service_account="db"), "is for service account 'db'", id="account"
        ),
    ],
)
def test_refused(who, identity, of, reason):
    with pytest.raises(NotAllowed, match=reason):
        registered(who, identity, of)


def test_the_account_of_the_group_is_allowed():
    assert registered(of=group(service_account="web")).service_account == "web"


def test_the_connection_made_last_wins():
    mine = registered()
    older = registered(controller="pilot-2", at=NOON - timedelta(seconds=1))
    newer = registered(controller="pilot-2", at=NOON + timedelta(microseconds=1))
    assert registration.supersedes(mine, None)
    assert registration.supersedes(mine, older)
    assert registration.supersedes(mine, mine)
    assert not registration.supersedes(mine, newer)


def test_a_record_is_held_by_the_connection_that_wrote_it():
    mine = registered()
    assert registration.held_by(mine, registration.with_health(mine, healthy=False))
    assert not registration.held_by(mine, None)
    assert not registration.held_by(mine, registered(controller="pilot-2"))
    assert not registration.held_by(mine, registered(at=NOON + timedelta(seconds=1)))


def test_age_survives_a_reconnect():
    before = registered()
    again = registered(at=NOON + timedelta(hours=1))
    adopted = registration.adopted(again, before, heard=False)
    assert adopted.create_time == before.create_time
    assert adopted.connected_at == again.connected_at
    assert registration.adopted(again, None, heard=False) is again


@pytest.mark.parametrize(
    ("fresh_is_healthy", "stored_is_healthy", "heard", "expected"),
    [
        pytest.param(False, True, False, Health.HEALTH_HEALTHY, id="kept-until-heard"),
        pytest.param(False, False, False, Health.HEALTH_UNHEALTHY, id="ill-stays-ill"),
        pytest.param(False, True, True, Health.HEALTH_UNHEALTHY, id="heard-wins"),
        pytest.param(True, False, False, Health.HEALTH_HEALTHY, id="nobody-checks-any-more"),
    ],
)
def test_health_survives_a_reconnect(fresh_is_healthy, stored_is_healthy, heard, expected):
    fresh = registration.with_health(registered(), healthy=fresh_is_healthy)
    stored = registration.with_health(registered(), healthy=stored_is_healthy)
    assert registration.adopted(fresh, stored, heard=heard).health == expected


def test_health_is_a_mark_on_a_copy():
    mine = registered()
    ill = registration.with_health(mine, healthy=False)
    assert ill.health == Health.HEALTH_UNHEALTHY
    assert registration.with_health(ill, healthy=True) == mine
    assert mine.health == Health.HEALTH_HEALTHY


def test_it_is_shown_as_a_workload_entry():
    """Labels, owner and annotations as Istio has them (citadel-and-agent.md B9)."""
    found = registered(member(CLUSTER_ID="c1"), of=group(ports={"http": 8080}, weight=3))
    entry = registration.entry(found)
    assert entry["kind"] == "WorkloadEntry"
    assert entry["metadata"]["name"] == found.name
    assert entry["metadata"]["annotations"] == {
        "note": "x",
        "istio.io/autoRegistrationGroup": "web-v1",
        "istio.io/workloadController": "pilot-1",
        "istio.io/connectedAt": "2030-01-01T12:00:00Z",
    }
    assert entry["metadata"]["ownerReferences"][0]["name"] == "web-v1"
    assert entry["spec"] == {
        "address": found.addresses[0],
        "labels": {"app": "web", "from": "group", "version": "v1"},
        "ports": {"http": 8080},
        "serviceAccount": "web",
        "weight": 3,
    }
    assert entry["status"]["conditions"] == [{"type": "Healthy", "status": "True"}]
    gone = registration.left(found, NOON + timedelta(seconds=5))
    annotations = registration.entry(gone)["metadata"]["annotations"]
    assert annotations["istio.io/disconnectedAt"] == "2030-01-01T12:00:05Z"
    assert registration.supersedes(found, gone), "who comes back writes over it"

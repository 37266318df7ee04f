"""The status that is published of a proxy."""

from datetime import UTC, datetime, timedelta

from envoy.config.core.v3.base_pb2 import ControlPlane

from mast.pilot.core.xds.report import (
    Replica,
    Stream,
    control_plane,
    distribution_row,
    proxy_status,
)
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, absent
from mastapi.status.v1.status_pb2 import TypeStatus
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, proxy
from tests.fakes.xds_streams import Stream as Session

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
REPLICA = Replica("pilot-1", "0.1")


def test_a_status_tells_who_where_and_how():
    mesh = FakeMesh()
    mesh.put(eds_cluster("a"), assignment("a", [1]))
    who = proxy(CLUSTER_ID="c1", ISTIO_VERSION="1.30.3")
    session = Session(mesh, who)
    (clusters,) = session.ask("cds")
    session.after(2)
    session.ack(clusters)
    (endpoints,) = session.ask("eds", "a")
    session.nack(endpoints, "no good")
    session.ask("lds", initial={"l": "1"})
    session.ask("rds", "r", initial={"r": absent(RDS, "r").version})
    stream = Stream("web-1", who, NOON, "10.0.0.1:5", "spiffe://x", lambda at: NOON + at)
    status = proxy_status(stream, session.session.state, REPLICA)
    assert (status.node_id, status.connection_id) == (who.node_id, "web-1")
    assert (status.pilot, status.pilot_version) == ("pilot-1", "0.1")
    assert (status.proxy_version, status.cluster, status.namespace) == ("1.30.3", "c1", "shop")
    assert (status.address, status.identity) == ("10.0.0.1:5", "spiffe://x")
    assert status.connected_at.ToDatetime(UTC) == NOON
    cds, eds, lds, rds = status.types
    assert (cds.type_url, cds.state, cds.resources) == (CDS, TypeStatus.SYNCED, 1)
    assert cds.sent_version == cds.acked_version != ""
    assert cds.sent_at.ToDatetime(UTC) == NOON
    assert cds.acked_at.ToDatetime(UTC) == NOON + timedelta(seconds=2)
    assert (eds.type_url, eds.state) == (EDS, TypeStatus.ERROR)
    assert (eds.last_error, eds.rejections, eds.acked_version) == ("no good", 1, "")
    assert (lds.type_url, lds.state) == (LDS, TypeStatus.STALE)
    assert (rds.type_url, rds.state, rds.resources) == (RDS, TypeStatus.NOT_SENT, 0)
    assert not rds.HasField("sent_at")


def test_a_proxy_may_tell_no_version():
    stream = Stream("x", proxy(), NOON, "", "", lambda at: NOON + at)
    session = Session(FakeMesh())
    assert proxy_status(stream, session.session.state, REPLICA).proxy_version == ""


def test_how_far_a_proxy_is():
    """Not before what is held back is sent, and everything acknowledged."""
    mesh = FakeMesh()
    mesh.put(eds_cluster("a"), eds_cluster("b"), assignment("a", [1]))
    session = Session(mesh)
    stream = Stream("x", proxy(), NOON, "", "", lambda at: NOON + at)

    def row():
        return distribution_row(stream, session.session.state, 7)

    clusters = session.ask("cds")
    assert row() == {"proxy": "web-1.shop", "revision": 7, "behind": ["cds"], "rejected": []}
    session.ack(*clusters)
    assert (row()["behind"], row()["rejected"]) == ([], [])
    mesh.remove(CDS, "b")
    assert session.push() == []  # no listener was asked for that could say who needs it
    assert row()["behind"] == ["held"]
    session.ack(*session.after(5))
    assert row()["behind"] == []
    session.nack(*session.ask("eds", "a"), "no good")
    assert (row()["behind"], row()["rejected"]) == ([], ["eds"])


def test_the_control_plane_tells_its_name():
    told = ControlPlane.FromString(control_plane(REPLICA))
    assert told.identifier == '{"Component": "pilot", "ID": "pilot-1", "Info": {"version": "0.1"}}'

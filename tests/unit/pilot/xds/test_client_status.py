"""Which proxies a caller is told of, and what (pilot.md B28)."""

import pytest
from envoy.service.status.v3.csds_pb2 import ConfigStatus
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from google.protobuf.json_format import ParseDict

from mast.common.envoy.matchers import NotUnderstood
from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.xds.client_status import client_config, matches, visible
from mast.pilot.core.xds.report import Stream
from mast.pilot.core.xds.resources import CDS, EDS, LDS, SDS
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, listener, proxy, secret
from tests.fakes.xds_streams import Stream as Client
from tests.unit.pilot.xds.test_report import NOON

WHO = proxy(CLUSTER_ID="c1", DNS_CAPTURE=True, NUMBER=3, LIST=["a", "b"])


@pytest.mark.parametrize(
    ("matcher", "fits"),
    [
        pytest.param({}, True, id="empty"),
        pytest.param({"node_id": {"exact": WHO.node_id}}, True, id="exact"),
        pytest.param({"node_id": {"exact": "web"}}, False, id="not-exact"),
        pytest.param({"node_id": {"prefix": "sidecar~"}}, True, id="prefix"),
        pytest.param({"node_id": {"suffix": "LOCAL"}}, False, id="suffix-of-other-case"),
        pytest.param(
            {"node_id": {"suffix": "LOCAL", "ignore_case": True}}, True, id="suffix-any-case"
        ),
        pytest.param({"node_id": {"contains": "web-1"}}, True, id="contains"),
        pytest.param({"node_id": {"safe_regex": {"regex": "sidecar.*"}}}, True, id="regex"),
        pytest.param({"node_id": {"safe_regex": {"regex": "sidecar"}}}, False, id="whole-regex"),
        pytest.param(
            {
                "node_metadatas": [
                    {
                        "path": [{"key": "CLUSTER_ID"}],
                        "value": {"string_match": {"exact": "c1"}},
                    }
                ]
            },
            True,
            id="metadata",
        ),
        pytest.param(
            {
                "node_metadatas": [
                    {"path": [{"key": "CLUSTER_ID"}, {"key": "x"}], "value": {"null_match": {}}}
                ]
            },
            True,
            id="path-beyond-a-value",
        ),
        pytest.param(
            {"node_metadatas": [{"path": [{"key": "X"}], "value": {"present_match": True}}]},
            False,
            id="absent",
        ),
        pytest.param(
            {"node_metadatas": [{"path": [{"key": "DNS_CAPTURE"}], "value": {"bool_match": True}}]},
            True,
            id="switch",
        ),
        *(
            pytest.param(
                {"node_metadatas": [{"path": [{"key": key}], "value": value}]}, fits, id=id
            )
            for id, key, value, fits in (
                ("number", "NUMBER", {"double_match": {"exact": 3}}, True),
                ("range", "NUMBER", {"double_match": {"range": {"start": 3, "end": 4}}}, True),
                ("end-of-range", "NUMBER", {"double_match": {"range": {"end": 3}}}, False),
                ("no-number", "CLUSTER_ID", {"double_match": {"exact": 3}}, False),
                ("no-number-but-a-switch", "DNS_CAPTURE", {"double_match": {"exact": 1}}, False),
                (
                    "list",
                    "LIST",
                    {"list_match": {"one_of": {"string_match": {"exact": "b"}}}},
                    True,
                ),
                ("not-in-list", "LIST", {"list_match": {"one_of": {"null_match": {}}}}, False),
                (
                    "either",
                    "CLUSTER_ID",
                    {"or_match": {"value_matchers": [{"null_match": {}}, {"present_match": True}]}},
                    True,
                ),
            )
        ),
    ],
)
def test_matchers(matcher, fits):
    assert matches([ParseDict(matcher, NodeMatcher())], WHO) is fits


def test_one_of_several_matchers_is_enough():
    wrong, right = ({"node_id": {"exact": each}} for each in ("x", WHO.node_id))
    assert matches([ParseDict(wrong, NodeMatcher()), ParseDict(right, NodeMatcher())], WHO)
    assert matches([], WHO)


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        ({"node_id": {}}, "string matcher of kind nothing, not exact, "),
        ({"node_id": {"safe_regex": {"regex": "("}}}, "regular expression '\\('"),
        ({"node_metadatas": [{"value": {}}]}, "values of kind nothing, not null_match, "),
    ],
    ids=["empty", "regex", "value"],
)
def test_matchers_that_make_no_sense(matcher, words):
    with pytest.raises(NotUnderstood, match=words):
        matches([ParseDict(matcher, NodeMatcher())], WHO)


@pytest.mark.parametrize(
    ("namespace", "seen"), [("shop", True), ("istio-system", True), ("bank", False)]
)
def test_a_namespace_sees_its_own_proxies_the_system_all(namespace, seen):
    identity = SpiffeId("cluster.local", namespace, "x")
    assert visible(WHO, identity, "istio-system") is seen


@pytest.fixture
def told():
    mesh = FakeMesh()
    mesh.put(eds_cluster("a"), assignment("a", [1]), listener("l"), secret("cert", "top secret"))
    client = Client(mesh, WHO)
    client.ack(*client.ask("cds"))
    client.ack(*client.ask("sds", "cert"))
    client.ask("eds", "a")
    client.nack(*client.ask("lds"), "no such filter")
    stream = Stream("web-1", WHO, NOON, "", "", lambda at: NOON + at)
    return lambda *, contents: {
        (each.type_url, each.name): each
        for each in client_config(
            stream, client.session.state, contents=contents
        ).generic_xds_configs
    }


def test_every_resource_has_the_state_of_its_type(told):
    found = told(contents=True)
    assert {key: each.config_status for key, each in found.items()} == {
        (CDS, "a"): ConfigStatus.SYNCED,
        (SDS, "cert"): ConfigStatus.SYNCED,
        (EDS, "a"): ConfigStatus.STALE,
        (LDS, "l"): ConfigStatus.ERROR,
    }
    assert found[LDS, "l"].error_state.details == "no such filter"
    assert found[CDS, "a"].version_info == eds_cluster("a").version
    assert found[CDS, "a"].last_updated.ToDatetime() == NOON.replace(tzinfo=None)


def test_contents_are_told_but_never_those_of_secrets(told):
    found = told(contents=True)
    assert found[CDS, "a"].xds_config.value == eds_cluster("a").body
    assert not found[SDS, "cert"].HasField("xds_config")
    assert not told(contents=False)[CDS, "a"].HasField("xds_config")


def test_what_was_not_sent_has_no_date():
    mesh = FakeMesh()
    mesh.put(assignment("a", [1]))
    client = Client(mesh, WHO)
    client.ask("eds", "a", initial={"a": assignment("a", [1]).version})
    stream = Stream("web-1", WHO, NOON, "", "", lambda at: NOON + at)
    config = client_config(stream, client.session.state, contents=True)
    assert config.node.id == WHO.node_id
    (found,) = config.generic_xds_configs
    assert found.config_status == ConfigStatus.NOT_SENT
    assert not found.HasField("last_updated")

"""The dump of a proxy's configuration, in Envoy's shape (pilot.md M1)."""

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from mast.pilot.core.xds.config_dump import config_dump, resources
from mast.pilot.core.xds.report import Stream, client_row, rejection_rows, sync_row
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, NDS, SDS, resource
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    proxy,
    routes,
    secret,
)
from tests.fakes.xds_streams import Stream as Client
from tests.unit.pilot.xds.test_report import NOON


@pytest.fixture
def client():
    mesh = FakeMesh()
    mesh.put(eds_cluster("a"), assignment("a", [1]), listener("l", "r"), routes("r", "a"))
    mesh.put(secret("cert", "top secret"))
    mesh.put(resource("wasm", ECDS, TypedExtensionConfig(name="wasm")))
    made = Client(mesh)
    named = {"cds": (), "eds": ("a",), "rds": ("r",), "sds": ("cert",), "ecds": ("wasm",)}
    for kind, names in named.items():
        made.ack(*made.ask(kind, *names))
    made.nack(*made.ask("lds"), "no such filter")
    return made


def kinds(dump):
    return {each["@type"].rpartition(".")[2]: each for each in dump["configs"]}


def test_endpoints_come_on_demand(client):
    state = client.session.state
    usual = kinds(config_dump(state)).keys()
    assert usual == {
        "ClustersConfigDump",
        "ListenersConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
        "EcdsConfigDump",
    }
    assert kinds(config_dump(state, endpoints=True)).keys() - usual == {"EndpointsConfigDump"}


def test_types_can_be_chosen(client):
    dump = kinds(config_dump(client.session.state, types=frozenset({"eds", "cds"})))
    assert dump.keys() == {"ClustersConfigDump", "EndpointsConfigDump"}


def test_every_resource_has_its_version(client):
    dump = kinds(config_dump(client.session.state, endpoints=True))
    (cluster,) = dump["ClustersConfigDump"]["dynamicActiveClusters"]
    assert (cluster["cluster"]["name"], cluster["versionInfo"]) == ("a", eds_cluster("a").version)
    (found,) = dump["ListenersConfigDump"]["dynamicListeners"]
    assert found["activeState"]["listener"]["name"] == "l"
    (route,) = dump["RoutesConfigDump"]["dynamicRouteConfigs"]
    assert route["routeConfig"]["name"] == "r"
    (endpoints,) = dump["EndpointsConfigDump"]["dynamicEndpointConfigs"]
    assert endpoints["endpointConfig"]["clusterName"] == "a"
    (extension,) = dump["EcdsConfigDump"]["ecdsFilters"]
    assert extension["ecdsFilter"]["name"] == "wasm"


def test_secrets_have_a_name_and_no_content(client):
    (found,) = kinds(config_dump(client.session.state))["SecretsConfigDump"]["dynamicActiveSecrets"]
    assert found == {"name": "cert", "versionInfo": secret("cert", "top secret").version}


def test_resources_of_one_type(client):
    (found,) = resources(client.session.state, EDS)
    assert found["clusterName"] == "a"
    assert resources(client.session.state, NDS) == []


def test_rows_of_reports(client):
    stream = Stream("web-1", client.proxy, NOON, "10.0.0.1:5", "", lambda at: NOON + at)
    state = client.session.state
    row = sync_row(stream, state)
    assert row["proxy"] == "web-1.shop"
    assert row["cluster_sent"] == row["cluster_acked"] == state.watches[CDS].nonce
    assert (row["listener_acked"], row["endpoint_acked"]) == ("", state.watches[EDS].nonce)
    assert rejection_rows(stream, state) == {"lds": "no such filter"}
    assert client_row(stream, state)["watches"]["sds"] == ["cert"]


def test_what_a_client_may_not_see_is_not_there():
    mesh = FakeMesh()
    mesh.put(secret("cert"), eds_cluster("a"))
    client = Client(mesh, proxy(), withheld=frozenset({SDS, CDS}))
    client.ask("sds", "cert")
    client.ask("cds")
    assert list(client.session.state.resources(SDS)) == []
    assert list(client.session.state.resources(CDS)) == []

"""Configuration dumps: everything by name, and what is no dump is said so."""

from __future__ import annotations

import json

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.cli.inspect.dump import NotADump, read
from tests.support.envoy_dumps import NODE, configuration, dump_of, hosts_of


def test_a_dump_gives_back_the_configuration() -> None:
    found = configuration()
    dump = read(dump_of(found))
    assert dump.configuration == found
    assert dump.node.id == NODE
    assert "listeners/virtualInbound" in dump.dynamic
    assert list(dump.extensions) == ["wasm"]


def test_both_spellings_of_fields_are_understood() -> None:
    found = configuration()
    camel = dump_of(found).replace("dynamic_active_clusters", "dynamicActiveClusters")
    assert read(camel).clusters == found.clusters


def test_unknown_types_and_fields_are_left_out() -> None:
    content = json.loads(dump_of(configuration()))
    content["configs"].append({"@type": "type.googleapis.com/envoy.admin.v9.NewConfigDump"})
    content["configs"][2]["dynamic_listeners"].append(
        {
            "name": "odd",
            "active_state": {
                "listener": {
                    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                    "name": "odd",
                    "brand_new": 1,
                    "listener_filters": [
                        {"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.x.Y"}}
                    ],
                }
            },
        }
    )
    listener = read(json.dumps(content)).listeners["odd"]
    assert listener == Listener(name="odd", listener_filters=[{"name": "x", "typed_config": {}}])


def test_rejections_are_kept() -> None:
    content = json.loads(dump_of(configuration()))
    content["configs"][2]["dynamic_listeners"].append(
        {"name": "bad", "error_state": {"details": "no such filter"}}
    )
    assert read(json.dumps(content)).rejected == {"listeners/bad": "no such filter"}


def test_the_clusters_page_alone_tells_endpoints() -> None:
    hosts = read(hosts_of(configuration())).hosts
    assert hosts is not None
    assert len(hosts.cluster_statuses) == 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="no-configs"),
        pytest.param('{"configs": 1}', id="number"),
        pytest.param(
            '{"configs": [{"@type": "a/envoy.admin.v3.ClustersConfigDump", "version_info": {}}]}',
            id="wrong-type",
        ),
    ],
)
def test_what_is_no_dump(text: str) -> None:
    with pytest.raises(NotADump):
        read(text)

"""mastctl proxy-config on saved dumps: every table, formats, aliases, wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.cli.proxy_config_command import level_changes
from tests.support.envoy_dumps import NODE, configuration, dump_of


@pytest.fixture
def dump(tmp_path: Path) -> str:
    file = tmp_path / "dump.json"
    file.write_text(dump_of(configuration(), warming="default"))
    return str(file)


def mastctl(*arguments: str, input: str | None = None) -> str:
    ended = CliRunner().invoke(app, [*arguments], input=input)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


@pytest.mark.parametrize(
    ("table", "heading", "words"),
    [
        pytest.param("clusters", "SERVICE FQDN", "inbound", id="clusters"),
        pytest.param("c", "SERVICE FQDN", "inbound", id="alias"),
        pytest.param("listeners", "ADDRESSES", "Route: 9080", id="listeners"),
        pytest.param("routes", "NAME ", "reviews.default", id="routes"),
        pytest.param("endpoints", "ENDPOINT", "10.0.0.6:9080", id="endpoints"),
        pytest.param("secret", "RESOURCE NAME", "WARMING", id="secret"),
        pytest.param("ecds", "ECDS NAME", "wasm", id="ecds"),
        pytest.param("all", "SERVICE FQDN", "RESOURCE NAME", id="all"),
    ],
)
def test_tables(dump: str, table: str, heading: str, words: str) -> None:
    text = mastctl("pc", table, "--file", dump)
    assert text.startswith(heading)
    assert words in text


def test_whole_messages(dump: str) -> None:
    found = json.loads(mastctl("proxy-config", "clusters", "--file", dump, "-o", "json"))
    assert {each["name"] for each in found} >= {"BlackHoleCluster", "inbound|9080||"}
    assert yaml.safe_load(mastctl("pc", "clusters", "--file", dump, "-o", "yaml")) == found
    everything = json.loads(mastctl("pc", "all", "--file", dump, "-o", "json"))
    assert everything["clusters"] == found


def test_bootstrap(dump: str) -> None:
    assert json.loads(mastctl("pc", "bootstrap", "--file", dump))["node"]["id"] == NODE
    assert NODE in mastctl("pc", "bootstrap", "--file", dump, "-o", "short")


def test_a_pipe_is_read(dump: str) -> None:
    text = mastctl("pc", "clusters", "--file", "-", input=Path(dump).read_text())
    assert text == mastctl("pc", "clusters", "--file", dump)


def test_nothing_found_is_no_data(dump: str) -> None:
    assert mastctl("pc", "clusters", "--file", dump, "--port", "1") == ""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["clusters"], 2, "name a workload", id="no-target"),
        pytest.param(["clusters", "a", "--admin", "b"], 2, "name a workload", id="two-targets"),
        pytest.param(["clusters", "--file", "/none"], 1, "/none", id="no-file"),
        pytest.param(["clusters", "--admin", "127.0.0.1:1"], 1, "127.0.0.1:1", id="no-admin"),
        pytest.param(["clusters", "--file", __file__], 1, "not JSON", id="no-dump"),
        pytest.param(["clusters", "--direction", "up", "--file", "x"], 2, "up", id="direction"),
        pytest.param(["listeners", "--type", "udp", "--file", "x"], 2, "udp", id="type"),
        pytest.param(["log", "--level", "loud", "--admin", "127.0.0.1:1"], 2, "loud", id="level"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, words: str) -> None:
    with pytest.raises(CommandError, match=words) as failed:
        mastctl("pc", *arguments)
    assert failed.value.status == status


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        pytest.param("", [], id="none"),
        pytest.param("debug", ["level=debug"], id="all"),
        pytest.param("http:debug,rbac:trace", ["http=debug", "rbac=trace"], id="some"),
    ],
)
def test_level_changes(text: str, queries: list[str]) -> None:
    assert level_changes(text) == queries


def test_a_logger_is_no_query() -> None:
    with pytest.raises(CommandError, match="no name of a logger"):
        level_changes("a&b:debug")

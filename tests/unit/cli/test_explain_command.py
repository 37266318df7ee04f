"""mastctl explain: a readable story, the same for programs, and wrong usage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.explain_command import question
from mast.cli.main import app
from tests.support.envoy_dumps import configuration, dump_of

MESH = Path(__file__).with_name("mesh.yaml")


def explain(*arguments: str) -> str:
    ended = CliRunner().invoke(app, ["explain", "-f", str(MESH), *arguments])
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_people_read_numbered_steps() -> None:
    lines = explain(
        "--from", "productpage", "--to", "http://reviews:9080/1", "-H", "end-user: jason"
    ).splitlines()
    assert lines[0].startswith(" 1. from ")
    place = f"<- VirtualService default/reviews spec.http[0].match[0] ({MESH}:40)"
    assert any(line.strip() == place for line in lines)


def test_programs_read_data() -> None:
    data = json.loads(explain("--from", "productpage", "--to", "reviews:9080", "-o", "json"))
    assert [each["percent"] for each in data["clusters"]] == [90, 10]


def test_claims_reach_the_route() -> None:
    assert explain("--from", "productpage", "--to", "reviews:9080", "--jwt-claims", '{"a": 1}')


def test_what_the_proxy_really_has_counts(tmp_path: Path) -> None:
    has = configuration("sidecar~192.0.2.1~productpage.default~default.svc.cluster.local")
    for host in has.routes["9080"].virtual_hosts:
        for route in host.routes:
            route.direct_response.status = 418
    file = tmp_path / "dump.json"
    file.write_text(dump_of(has))
    line = ("--from", "productpage", "--to", "reviews:9080", "-o", "json")
    assert json.loads(explain(*line))["status"] == 0
    assert json.loads(explain(*line, "--file", str(file)))["status"] == 418


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--to", "a"], "who asks", id="nobody"),
        pytest.param(["--from", "nobody", "--to", "a"], "nobody", id="unknown"),
        pytest.param(["--from", "a", "--to", "ftp://a"], "http, https, tls, tcp", id="scheme"),
        pytest.param(["--from", "a", "--to", "tcp://a"], "which port", id="no-port"),
        pytest.param(["--from", "a", "--to", "a:port"], "a:port", id="bad-port"),
        pytest.param(["--from", "a", "--to", "a", "-H", "x"], "NAME: VALUE", id="header"),
        pytest.param(["--from", "a", "--to", "a", "--jwt-claims", "{"], "not JSON", id="claims"),
        pytest.param(["--from", "a", "--to", "a", "--jwt-claims", "[]"], "object", id="no-object"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as failed:
        explain(*arguments)
    assert failed.value.status == 2


@pytest.mark.parametrize(
    ("to", "host", "port", "path"),
    [
        pytest.param("web", "web", 80, "/", id="host"),
        pytest.param("web:8080", "web", 8080, "/", id="port"),
        pytest.param("https://web/a?b=c", "web", 443, "/a?b=c", id="url"),
        pytest.param("tcp://[::1]:1", "::1", 1, "/", id="ipv6"),
    ],
)
def test_question(to: str, host: str, port: int, path: str) -> None:
    asked = question(to, path="")
    assert (asked.host, asked.port, asked.path) == (host, port, path)

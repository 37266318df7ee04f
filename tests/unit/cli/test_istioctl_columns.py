"""Section F of galley-and-kubernetes.md: what istioctl's users find, row by row (G17).

Columns are compared as the specification has them; each command reads a saved dump, files or an API
server. Live proxies: `integration/cli/test_proxy_commands_live.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from typer.testing import CliRunner

from mast.cli.analyze_command import DATA, FOUND, line
from mast.cli.check_inject_command import COLUMNS as INJECTORS
from mast.cli.cobra import USAGE
from mast.cli.errors import CommandError
from mast.cli.inspect.access import COLUMNS as POLICIES
from mast.cli.main import app
from mast.cli.proxy_commands import COLUMNS as PROXIES
from mast.cli.proxy_commands import VERBOSE_COLUMNS as VERBOSE_PROXIES
from mast.cli.tag_commands import COLUMNS as TAGS
from mast.galley.core.analysis.snapshot import Item, Message
from tests.support.envoy_dumps import configuration, dump_of
from tests.support.pki import Ca

CERTIFICATES = Ca.root("mesh")
BROKEN = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {hosts: [a], gateways: [nowhere], http: [{route: [{destination: {host: a}}]}]}}"  # noqa: E501


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Saved dumps of proxies that hold secrets."""
    directory = tmp_path_factory.mktemp("dumps")
    found = {}
    for name, ca in (("one", CERTIFICATES), ("two", CERTIFICATES), ("other", Ca.root("other"))):
        leaf, root = Secret(name="default"), Secret(name="ROOTCA")
        leaf.tls_certificate.certificate_chain.inline_bytes = ca.leaf(dns=["a"]).chain
        root.validation_context.trusted_ca.inline_bytes = ca.pem
        file = directory / f"{name}.json"
        file.write_text(dump_of(configuration(), leaf, root))
        found[name] = str(file)
    bare = directory / "bare.json"
    bare.write_text(dump_of(configuration()))
    return {**found, "bare": str(bare)}


def ended(*arguments: str) -> Any:
    """A command that ended: its output, and its exit status as a shell sees it."""
    return CliRunner().invoke(app, arguments)


def status(*arguments: str) -> int:
    result = ended(*arguments)
    if isinstance(result.exception, CommandError):
        return result.exception.status
    return int(result.exit_code)


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (["cluster"], "SERVICE FQDN PORT SUBSET DIRECTION TYPE DESTINATION RULE"),
        (["listener"], "ADDRESSES PORT MATCH DESTINATION"),
        (["listener", "--verbose=false"], "ADDRESSES PORT TYPE"),
        (["listener", "--no-verbose"], "ADDRESSES PORT TYPE"),
        (["route"], "NAME VHOST NAME DOMAINS MATCH VIRTUAL SERVICE"),
        (["endpoint"], "ENDPOINT STATUS OUTLIER CHECK CLUSTER"),
        (["eds"], "NAME STATUS LOCALITY CLUSTER"),
        (
            ["secret"],
            "RESOURCE NAME TYPE STATUS VALID CERT SERIAL NUMBER NOT AFTER NOT BEFORE",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_proxy_config(dumps: dict[str, str], arguments: list[str], columns: str) -> None:
    for group in (["proxy-config"], ["pc"], ["x", "proxy-config"]):
        result = ended(*group, *arguments, "--file", dumps["one"])
        assert result.exit_code == 0, result.output
        heading, *rows = result.stdout.splitlines()
        assert " ".join(heading.split()) == columns
        assert rows


@pytest.mark.parametrize("name", ["bootstrap", "all", "ecds"])
@pytest.mark.parametrize("output", ["json", "yaml"])
def test_proxy_config_as_data(dumps: dict[str, str], name: str, output: str) -> None:
    assert status("pc", name, "--file", dumps["one"], "-o", output) == 0


def test_places_of_endpoints(dumps: dict[str, str]) -> None:
    cluster = "outbound|9080|v1|reviews.default.svc.cluster.local"
    told = ended("pc", "eds", "--file", dumps["one"], "--cluster", cluster).stdout.splitlines()
    assert [line.split() for line in told[1:]] == [["10.0.0.5:9080", "HEALTHY", "r1/z1", cluster]]


@pytest.mark.parametrize(
    ("names", "expected", "words"),
    [
        (("one", "two"), 0, "have identical roots"),
        (("one", "other"), 1, "no root in common"),
        (("one", "bare"), 1, "not both hold roots"),
        (("one",), 2, "name two proxies"),
    ],
)
def test_roots(dumps: dict[str, str], names: tuple[str, ...], expected: int, words: str) -> None:
    files = [part for name in names for part in ("--file", dumps[name])]
    result = ended("proxy-config", "rootca-compare", *files)
    assert words in (str(result.exception) if result.exception else result.stdout)
    assert status("proxy-config", "rootca-compare", *files) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (PROXIES, "NAME CLUSTER ISTIOD VERSION SUBSCRIBED TYPES"),
        (VERBOSE_PROXIES, "NAME CLUSTER CDS LDS EDS RDS ECDS ISTIOD VERSION"),
        (POLICIES, "ACTION AuthorizationPolicy RULES"),
        (INJECTORS, "WEBHOOK REVISION INJECTED REASON"),
        (TAGS, "TAG REVISION NAMESPACES"),
    ],
)
def test_columns_of_what_is_live(columns: tuple[str, ...], expected: str) -> None:
    """The commands' own tests see them printed."""
    assert " ".join(columns) == expected


def test_lines_of_analysis() -> None:
    item = Item("networking.istio.io/VirtualService", "shop", "a", source="a.yaml")
    told = line(Message("IST0101", item, "is not there", line=3))
    assert told == "Error [IST0101] (VirtualService shop/a a.yaml:3) is not there"
    assert (FOUND, DATA, USAGE) == (79, 65, 64)


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (BROKEN, ["analyze", "--use-kube=false", "FILE"], FOUND),
        (BROKEN, ["analyze", "--use-kube=false", "-o", "json", "FILE"], 0),
        ("a: [", ["analyze", "--use-kube=false", "FILE"], DATA),
        ("", ["analyze", "--use-kube=false"], USAGE),
        (BROKEN, ["validate", "-f", "FILE"], 0),
        (BROKEN.replace("hosts: [a]", "hosts: []"), ["validate", "-f", "FILE"], 1),
        ("", ["validate"], 2),
        (BROKEN, ["kube-inject", "-f", "FILE"], 0),
        ("", ["version"], 0),
        ("", ["completion", "bash"], 0),
        ("", ["completion", "csh"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_exit_statuses(tmp_path: Path, text: str, arguments: list[str], expected: int) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    assert status(*(str(file) if each == "FILE" else each for each in arguments)) == expected


def test_completion() -> None:
    for shell in ("bash", "zsh", "fish", "powershell"):
        assert "_MASTCTL_COMPLETE" in ended("completion", shell).stdout

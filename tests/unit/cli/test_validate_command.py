"""mastctl validate: what is said of files, in lines and in JSON, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.galley.core.documents import TEXT_LIMIT_BYTES

HEAD = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
GOOD = HEAD + "metadata: {name: good, namespace: shop}\nspec: {host: a}\n"
BAD = HEAD + "metadata: {name: bad}\nspec:\n  hosts: [a]\n  workloadSelector: {}\n"
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  ports: [{name: web, port: 80}]\n"
)
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: s}\n"
TELLING = HEAD + "metadata: {name: telling}\nspec: {host: a, exportTo: [b]}\n"


def run(*arguments: str, input: str | bytes | None = None) -> tuple[int, Result]:
    """The exit status as mastctl has it, and what was printed."""
    ended = CliRunner().invoke(app, ["validate", *arguments], input=input)
    if isinstance(ended.exception, CommandError):
        return ended.exception.status, ended
    return ended.exit_code, ended


def documents(*arguments: str, input: str | bytes | None = None) -> list[dict[str, Any]]:
    _, ended = run("-o", "json", *arguments, input=input)
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize(
    ("text", "arguments", "status", "lines"),
    [
        pytest.param(GOOD, [], 0, ["1 document(s) valid"], id="valid"),
        pytest.param(f"{ACCOUNT}---\n{GOOD}", [], 0,
                     ["-:2: note: ServiceAccount s: skipped: unknown kind 'ServiceAccount' of 'v1'",
                      "1 document(s) valid, 1 skipped"], id="kubernetes"),
        pytest.param(f"{SERVICE}---\n{GOOD}", [], 0,
                     ["-:5: warning: Service default/s spec.ports[0].name: port 80 ('web') does not"
                      " tell its protocol, so proxies look at the first bytes; call it for example"
                      " 'http' or 'tcp-db', or set 'appProtocol' [port-name]",
                      "2 document(s) valid"], id="service"),
        pytest.param(SERVICE.replace("80", "http"), ["--compat=1.4"], 1,
                     ["-:5: error: Service default/s spec.ports[0].port: 'http' is not a port"
                      " number [wrong-type]"], id="broken-service"),
        pytest.param(f"{GOOD}---\n{BAD}", [], 1,
                     ["-:9: error: DestinationRule default/bad spec.host: 'host' is required"
                      " [required]",
                      "-:10: error: DestinationRule default/bad spec.hosts: unknown field 'hosts'"
                      " of DestinationRule; did you mean 'host'? [unknown-field]",
                      "-:11: warning: DestinationRule default/bad"
                      " spec.workloadSelector.matchLabels: the selector is empty and selects every"
                      " workload [empty-selector]"], id="invalid"),
        pytest.param(TELLING, [], 0, ["1 document(s) valid"], id="by-todays-rules"),
        pytest.param(TELLING, ["--compat=1.4"], 1,
                     ["-:4: error: DestinationRule default/telling spec.exportTo[0]: 'b' is not"
                      " allowed; 1.4 has '.', '*' [export-to]"], id="by-those-of-1.4"),
        pytest.param(GOOD.replace("networking", "networkin"), [], 1,
                     ["-:2: error: DestinationRule shop/good kind: unknown kind 'DestinationRule'"
                      " of 'networkin.istio.io/v1'; did you mean DestinationRule of"
                      " networking.istio.io/v1 [unknown-kind]"], id="misspelt-group"),
        pytest.param(GOOD.replace("{host: a}", "{host: a} # ÿ").encode("latin-1"), [], 1,
                     ["-:4: error: DestinationRule shop/good: byte 0xff is not UTF-8"
                      " [not-utf-8]"], id="not-utf-8"),
        pytest.param("#" * (TEXT_LIMIT_BYTES + 1), [], 1,
                     [f"-: error: text is longer than {TEXT_LIMIT_BYTES} bytes; split it"
                      " [too-large]"], id="too-large"),
        pytest.param("", [], 0, ["0 document(s) valid"], id="nothing"),
    ],
)  # fmt: skip
def test_lines(text: str | bytes, arguments: list[str], status: int, lines: list[str]) -> None:
    ended, result = run("-f", "-", *arguments, input=text)
    assert (ended, result.stdout.splitlines()) == (status, lines)


def test_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "bad.yaml").write_text(f"{SERVICE}---\n{BAD}")
    (tmp_path / "a.yaml").write_text(SERVICE.replace("{name: s}", "{name: first}"))
    (tmp_path / "good.json").write_text(json.dumps({"kind": "List", "items": []}))
    (tmp_path / "notes.txt").write_text("a: [")
    (tmp_path / "z.yml").write_text(GOOD)
    first, *found = documents("-f", str(tmp_path), "-n", "web")
    assert (first["file"], first["name"]) == (str(tmp_path / "a.yaml"), "first")
    bad = str(tmp_path / "below" / "bad.yaml")
    assert [(each["file"], each["line"], each["kind"], each["valid"]) for each in found] == [
        (bad, 1, "Service", True),
        (bad, 7, "DestinationRule", False),
        (str(tmp_path / "z.yml"), 1, "DestinationRule", True),
    ]
    assert (found[1]["namespace"], found[1]["name"]) == ("web", "bad")
    assert [each["rule"] for each in found[0]["warnings"]] == ["port-name"]
    assert (found[0]["namespace"], found[0]["notes"]) == ("web", [])
    assert [each["rule"] for each in found[1]["errors"]] == ["required", "unknown-field"]
    assert found[1]["warnings"] == [
        {
            "line": 12,
            "path": "spec.workloadSelector.matchLabels",
            "rule": "empty-selector",
            "message": "the selector is empty and selects every workload",
        }
    ]


def test_an_object_in_two_files_is_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    assert [each["valid"] for each in documents("-f", str(tmp_path))] == [True, False]


def test_json_has_nothing_but_documents_on_stdout() -> None:
    assert documents("-f", "-", input=GOOD) == [
        {"file": "-", "line": 1, "kind": "DestinationRule", "namespace": "shop", "name": "good",
         "valid": True, "errors": [], "warnings": [], "notes": []}
    ]  # fmt: skip
    assert run("-o", "json", "-f", "-", input=BAD)[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no-files"),
        pytest.param(["-f", "/nowhere/at/all.yaml"], id="no-such-file"),
        pytest.param(["-f", "-", "-o", "table"], id="format"),
        pytest.param(["-f", "-", "--compat=1.5"], id="version"),
    ],
)
def test_usage(arguments: list[str]) -> None:
    assert run(*arguments, input=GOOD)[0] == 2


def test_a_directory_without_files_is_wrong_usage(tmp_path: Path) -> None:
    assert run("-f", str(tmp_path))[0] == 2

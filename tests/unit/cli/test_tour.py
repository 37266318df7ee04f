"""The README's commands that need no server do what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mast.cli.main import app

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ \./mast ((?:render|explain) -f [^|>\n]*)", README, re.MULTILINE)
CAUSES = re.findall(r"^ +(<- .* \(samples/.*:\d+\))$", README, re.MULTILINE)


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(ROOT)
    ended = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_end_well(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(command, monkeypatch)


def test_causes_are_those_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    explained = run(next(each for each in COMMANDS if each.startswith("explain")), monkeypatch)
    causes = [line.strip() for line in explained.splitlines() if "<-" in line]
    assert causes == CAUSES != []


def test_all_kinds_of_commands_are_shown() -> None:
    assert {each.split()[0] for each in COMMANDS} == {"render", "explain"}

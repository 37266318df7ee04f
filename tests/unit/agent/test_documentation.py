"""The agent's pages name every setting with its default, and no other."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mast.agent import capture_command
from mast.agent.commands import COMMANDS
from mast.agent.config import Config, Flags
from mast.agent.core import machine, paths
from mast.agent.core.stats import ANNOTATION
from mast.agent.machine_command import ACTIONS

DOCS = Path(__file__).parents[3] / "docs"


def table(page: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without backquotes."""
    text = (DOCS / page).read_text()
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("`", "") for cell in row.split("|")[1:-1]] for row in rows[1:]]


def told(value: Any) -> str:
    """A default as the page writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        hours = f"{seconds / 3600:g}h" if seconds >= 3600 else f"{seconds:g}s"
        return f"{seconds * 1000:g}ms" if seconds < 1 else hours
    return str(value)


def test_every_variable_is_told_with_its_default() -> None:
    page = {row[0]: row[1] for row in table("agent.md", "Variables")}
    fields = {each.metadata["env"]: each.default for each in dataclasses.fields(Config)}
    assert page.keys() == fields.keys()
    for variable, default in fields.items():
        if default not in {"", 0} or default is False:
            assert page[variable] == told(default), variable


def test_every_flag_is_told() -> None:
    told = {
        row[0].removeprefix("--").replace("_", "") for row in table("agent.md", "Flags of proxy")
    }
    known = {each.name.replace("_", "") for each in dataclasses.fields(Flags)}
    assert {each.lower() for each in told} == known - {"role"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_told(command: str) -> None:
    assert command in (DOCS / "agent.md").read_text()


@pytest.mark.parametrize(
    "path", [value for name, value in vars(paths).items() if name.isupper() and "/" in value]
)
def test_every_path_is_told(path: str) -> None:
    assert path in (DOCS / "agent.md").read_text()


@pytest.mark.parametrize(
    "suffix",
    [
        *("InclusionPrefixes", "InclusionSuffixes", "InclusionRegexps", "HistogramBuckets"),
        *("FlushInterval", "EvictionInterval"),
    ],
)
def test_annotations_of_statistics_are_told(suffix: str) -> None:
    text = (DOCS / "agent.md").read_text()
    assert ANNOTATION in text
    assert f"`{suffix}`" in text


def test_every_flag_of_capture_is_told_with_variable_and_default() -> None:
    page = {row[0]: (row[1], row[2]) for row in table("capture.md", "Flags")}
    known = {
        ", ".join(spellings): (variable, default)
        for settings in (capture_command._TEXT, capture_command._LISTS)  # noqa: SLF001
        for spellings, variable, default in settings.values()
    }
    for spelling, variable in capture_command._SWITCHES.values():  # noqa: SLF001
        both = f"{spelling}, -n" if spelling == "--dry-run" else spelling
        known[both] = (variable, "false")
    assert page == known


def test_every_file_and_action_of_machines_is_told() -> None:
    files = {row[0]: row[1] for row in table("virtual-machines.md", "What is written")}
    for name, (place, _) in machine.INSTALLED.items():
        assert name == "sidecar.env" or files[name] == f"/{place}"
    actions = {row[0].split(" ")[0] for row in table("virtual-machines.md", "mast-agent vm")}
    assert actions == ACTIONS.keys()

"""A control plane, a working directory and an application for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.agent.application import Application, running_application
from tests.integration.agent.control_plane import ControlPlane, control_plane
from tests.integration.agent.running import furnish


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path, plane: ControlPlane) -> Path:
    """The agent's working directory."""
    directory = tmp_path / "work"
    furnish(directory, plane)
    return directory


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    async with running_application() as program:
        yield program

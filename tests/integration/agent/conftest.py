"""A control plane, a working directory and an application for each test."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.agent.application import Application, running_application
from tests.integration.agent.control_plane import ControlPlane, control_plane
from tests.integration.agent.running import furnish


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory with a short name: Unix sockets have at most 108 bytes of path."""
    with tempfile.TemporaryDirectory(prefix="mt-") as directory:
        yield Path(directory)


@pytest.fixture
async def plane(sockets: Path) -> AsyncIterator[ControlPlane]:
    async with control_plane(sockets) as running:
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

"""The plugin's files on the node: put there, kept there, taken away (C6)."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from mast.agent.core.cni.conf import (
    PLUGIN,
    BadConf,
    chosen,
    name_of_list,
    parsed,
    text_of,
    with_plugin,
    without_plugin,
)

log = structlog.get_logger()

PAUSE_SECONDS = 1.0
_SOURCE = "mast.agent.cni_plugin"


@dataclass(frozen=True)
class Installation:
    """Where the node has programs and network configuration, and our entry in the latter.

    ``interpreter`` is the first line of the program, as the node sees it.
    """

    programs: Path
    configurations: Path
    interpreter: str
    entry: Mapping[str, Any]

    async def keep(self, stop: asyncio.Event, tell: Callable[[str], None]) -> None:
        """Put right what others change until ``stop`` is set, then take everything away.

        ``tell`` hears what is missing, "" if nothing. The program comes first, and goes last: an
        entry without it would keep pods from starting.
        """
        while not stop.is_set():
            try:
                problem = await asyncio.to_thread(self.install)
            except OSError as error:
                problem = str(error)
            tell(problem)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await stop.wait()
        await asyncio.to_thread(self.remove)

    def install(self) -> str:
        """Make it as it is to be; "" or what is missing. Raises OSError."""
        program = self.programs / PLUGIN
        if _content(program) != self._program:
            _replace(program, self._program, 0o755)
            log.info("cni.program_installed", path=str(program))
        name = chosen(each.name for each in self.configurations.iterdir())
        if not name:
            return f"{self.configurations}: no network configuration yet"
        path = self.configurations / name
        text = path.read_text()
        try:
            found = parsed(text)
        except BadConf as error:
            return f"{path}: {error}"
        wanted = text_of(with_plugin(found, self.entry))
        if wanted == text:
            return ""
        target = self.configurations / name_of_list(name)
        _replace(target, wanted, 0o600)
        if target != path:
            path.unlink()
        log.info("cni.configuration_installed", path=str(target))
        return ""

    def remove(self) -> None:
        """Take the entry out of every configuration, then the program away."""
        names = [each.name for each in self.configurations.iterdir()]
        for path in (self.configurations / each for each in names if chosen([each])):
            with suppress(OSError, BadConf):
                found = parsed(path.read_text())
                without = without_plugin(found)
                if without["plugins"] != found["plugins"]:
                    _replace(path, text_of(without), 0o600)
        (self.programs / PLUGIN).unlink(missing_ok=True)
        log.info("cni.removed")

    @property
    def _program(self) -> str:
        spec = find_spec(_SOURCE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(_SOURCE)
        return f"#!{self.interpreter}\n{Path(spec.origin).read_text()}"


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str, mode: int) -> None:
    """Write beside and rename: a runtime that looks sees the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

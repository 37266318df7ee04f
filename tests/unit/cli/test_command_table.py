"""The table of mastctl's commands: as its modules register them, loaded when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mast.cli.command_table import MODULES, commands
from mast.cli.main import app


@pytest.mark.parametrize("module", MODULES)
def test_names_are_those_the_module_registers(module: str) -> None:
    assert tuple(commands(module)) == MODULES[module]


def test_help_tells_of_every_command_that_is_not_hidden() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    for module, names in MODULES.items():
        found = commands(module)
        shown = [name for name in names if f"\n  {name} " in told]
        assert shown == [name for name in names if not found[name].hidden], module
        assert all((found[name].get_short_help_str(20)[:8]) in told for name in shown)


def test_a_typing_error_is_answered_with_names() -> None:
    assert "Did you mean 'apply'?" in CliRunner().invoke(app, ["aply"]).output


def test_a_command_loads_its_own_module_only() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from mast.cli.main import app;"
        "assert CliRunner().invoke(app, ['get', '--help']).exit_code == 0;"
        "print(*(name for name in sys.modules if name.startswith('mast.cli.')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.removeprefix("mast.cli.") for name in ended.stdout.split()}
    assert loaded & MODULES.keys() == {"config_commands"}, ended.stderr

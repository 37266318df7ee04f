"""completion: what makes a shell complete mastctl's commands and options."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

EXAMPLES = """\b
Examples:
  source <(mastctl completion bash)
  mastctl completion zsh > "${fpath[1]}/_mastctl"
"""


class Shell(StrEnum):
    """Shells whose completion can be extended."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(completion)


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL")]) -> None:
    """Print the script that lets a shell complete mastctl: bash, zsh, fish or powershell."""
    script = get_completion_script(
        prog_name="mastctl", complete_var="_MASTCTL_COMPLETE", shell=shell.value
    )
    sys.stdout.write(script + "\n")

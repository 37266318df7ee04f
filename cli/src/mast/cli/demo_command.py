"""demo: the whole mesh on this machine, with evidence."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""

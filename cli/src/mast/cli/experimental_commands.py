"""x, experimental: where Istio's users look for some of the commands."""

from __future__ import annotations

import typer

from mast.cli.command_table import CommandTable


class Experimental(CommandTable):
    """Commands of mastctl that istioctl has, or once had, below ``experimental``."""

    names = (
        "authz",
        "check-inject",
        "describe",
        "kube-inject",
        "precheck",
        "proxy-config",
        "proxy-status",
        "ps",
        "tag",
        "wait",
        "workload",
    )


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(cls=Experimental, no_args_is_help=True)
    group.callback()(lambda: None)
    for name in ("x", "experimental"):
        app.add_typer(group, name=name, hidden=True)

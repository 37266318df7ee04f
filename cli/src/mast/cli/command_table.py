"""mastctl's commands by their names; the module of one is imported when it is asked for."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of the help.
MODULES: Mapping[str, tuple[str, ...]] = {
    "local_commands": ("up", "down", "status", "run", "stop", "version"),
    "config_commands": ("apply", "delete", "get"),
    "validate_command": ("validate",),
    "history_commands": ("history", "rollback"),
    "backup_commands": ("backup", "restore"),
    "analyze_command": ("analyze",),
    "proxy_commands": ("proxy-status", "ps", "diff"),
    "render_command": ("render",),
    "kube_inject_command": ("kube-inject",),
    "remote_commands": ("create-remote-secret", "remote-clusters"),
    "explain_command": ("explain",),
    "demo_command": ("demo",),
    "ca_commands": ("ca",),
    "proxy_config_command": ("proxy-config", "pc"),
    "authz_command": ("authz",),
    "mixer_commands": ("mixer",),
    "jwt_commands": ("jwt",),
    "etcd_commands": ("etcd",),
    "workload_commands": ("workload",),
    "completion_command": ("completion",),
    "tag_commands": ("tag",),
    "check_inject_command": ("check-inject",),
    "wait_command": ("wait",),
    "describe_command": ("describe",),
    "precheck_command": ("precheck",),
    "install_command": ("install", "upgrade"),
    "uninstall_command": ("uninstall",),
    "verify_install_command": ("verify-install",),
    "manifest_commands": ("manifest", "profile"),
    "experimental_commands": ("x", "experimental"),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}


class CommandTable(TyperGroup):
    """A group whose commands stand in ``MODULES``.

    To import all of them takes longer than most commands do; a run needs one.
    """

    names: Collection[str] = _MODULE_OF

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name in self.names:
            self.add_command(TyperCommand(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command with its options and help; None if there is none of this name."""
        if cmd_name not in self.names:
            return None
        return commands(_MODULE_OF[cmd_name])[cmd_name]


@cache
def commands(module: str) -> Mapping[str, Any]:
    """What a module registers, by name."""
    app = typer.Typer(rich_markup_mode=None)
    gc.disable()  # modules stay: there is no garbage to look for among them
    try:
        import_module(f"mast.cli.{module}").register(app)
    finally:
        gc.enable()
    return typer.main.get_group(app).commands

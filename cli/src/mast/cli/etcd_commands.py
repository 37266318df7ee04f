"""etcd: what an etcd of one's own must be told before Mast uses it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from mast.common.etcd.roles import ADMINISTRATOR, ROLES, grants

commands = typer.Typer(
    help="Users and roles of an etcd that is not this machine's.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(commands, name="etcd")


@commands.callback()
def _group() -> None:
    """Keep `roles` a command of its own, although it is the only one."""


@commands.command()
def roles(
    root: Annotated[str, typer.Option(help="--etcd-root of the services.")] = "/mast",
) -> None:
    """Print the etcdctl commands that make a user and a role for each service.

    Users have no passwords: the common name of a client certificate says who calls (etcd
    --client-cert-auth). Read them, then run them:  mastctl etcd roles | sh
    """
    sys.stdout.writelines(f"{line}\n" for line in etcdctl_commands(root))


def etcdctl_commands(root: str) -> Iterator[str]:
    """The commands, in an order in which each finds what it needs."""
    for name, role in ROLES.items():
        yield f"etcdctl role add {name}"
        for each in grants(role, root):
            kind = "readwrite" if each.write else "read"
            line = f"etcdctl role grant-permission {name} {kind} {each.start.decode()}"
            yield f"{line} {each.end.decode()}".rstrip()
    for name in (ADMINISTRATOR, *ROLES):
        yield f"etcdctl user add {name} --no-password"
        yield f"etcdctl user grant-role {name} {name}"
    yield "etcdctl auth enable"

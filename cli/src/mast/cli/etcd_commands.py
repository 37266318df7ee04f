"""etcd: what the store of a mesh must be told and given, and copies of what it holds."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mast.cli.errors import CommandError
from mast.cli.etcd_bootstrap import Secrets, keep_users_of
from mast.cli.etcd_snapshot import outdated, reached, save
from mast.cli.kubernetes_access import ClusterChoice, Context, Kubeconfig
from mast.cli.output import note
from mast.common.etcd.roles import ADMINISTRATOR, ROLES, grants
from mast.common.kubernetes import Api

commands = typer.Typer(
    help="Users, keys and copies of an etcd that is not this machine's.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Root = Annotated[str, typer.Option(help="--etcd-root of the services.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(commands, name="etcd")


@commands.command()
def roles(root: Root = "/mast") -> None:
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


@commands.command()
def bootstrap(
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Namespace of the control plane.")
    ] = "istio-system",
    prefix: Annotated[str, typer.Option(help="What names of Secrets begin with.")] = "mast",
    endpoints: Annotated[
        str, typer.Option(help="etcd's members, HOST:PORT,…; without, only sealing keys are made.")
    ] = "",
    hosts: Annotated[
        str, typer.Option(help="Names and addresses of members in their certificate, with commas.")
    ] = "",
    root: Root = "/mast",
    timeout: Annotated[int, typer.Option(min=1, help="Seconds etcd may take to answer.")] = 300,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Make the Secrets of a control plane in Kubernetes, and the users of its etcd.

    What is there stays as it is. The chart runs this.
    """

    async def keep(api: Api) -> None:
        kept = Secrets(
            api=api,
            namespace=namespace,
            prefix=prefix,
            now=_now,
            entropy=secrets.token_bytes,
            progress=note,
        )
        await kept.keep_sealing_keys()
        if endpoints:
            roots, own = await kept.keep_etcd([each for each in hosts.split(",") if each])
            await keep_users_of(endpoints, roots, own, root, timedelta(seconds=timeout))
            note("etcd has its users")

    ClusterChoice(kubeconfig, context).ask(keep)


@commands.command()
def snapshot(
    folder: Annotated[Path, typer.Argument(help="Directory of snapshots.")],
    endpoints: Annotated[
        str, typer.Option(help="Members of etcd, HOST:PORT,…; the first that gives it counts.")
    ] = "127.0.0.1:2379",
    ca: Annotated[Path | None, typer.Option(help="PEM of etcd's CA; without, no TLS.")] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM of the administrator's.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of its key.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many to keep.")] = 7,
) -> None:
    """Save everything that etcd holds into a file, and remove older ones.

    What is sealed stays sealed. To go back to one:  etcdutl snapshot restore FILE
    """

    async def copy() -> Path:
        *others, last = endpoints.split(",")
        for each in others:
            try:
                async with reached(each, ca, cert, key) as channel:
                    return await save(channel, folder, _now())
            except CommandError as error:
                note(f"{each}: {error}")
        async with reached(last, ca, cert, key) as channel:
            return await save(channel, folder, _now())

    saved = asyncio.run(copy())
    for old in outdated(folder, keep):
        old.unlink()
    sys.stdout.write(f"{saved}\n")


def _now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251

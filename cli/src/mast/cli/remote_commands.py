"""create-remote-secret and remote-clusters: several clusters in one mesh."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import ClusterChoice, Context, Kubeconfig
from mast.cli.live_mesh import live_entries
from mast.cli.offline.reading import Entry
from mast.cli.output import Format, note, show
from mast.cli.pilot_pages import page
from mast.cli.remote_secret import (
    CONTROL_PLANE,
    READER,
    Kind,
    Way,
    reader,
    secret_text,
    token_secret,
)
from mast.common.keys import STATUS_CLUSTERS
from mast.common.kubernetes import AlreadyExists, Api, Object, Resource
from mast.common.kubernetes.objects import NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from mast.common.process.settings import duration as parsed_duration
from mastapi.status.v1.status_pb2 import ClustersStatus

COLUMNS = ("NAME", "SECRET", "STATUS", "ISTIOD", "REVISION")
SECONDS = 20

CLUSTER_ROLES = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - told apart, not listened on

CREATION_EXAMPLES = """\b
Examples:
  mastctl create-remote-secret --context east --name east | kubectl apply -f - --context main
  mastctl create-remote-secret --kubeconfig west.yaml --name west --server https://west:6443
"""
CLUSTERS_EXAMPLES = """\b
Examples:
  mastctl remote-clusters
  mastctl remote-clusters --galley 127.0.0.1:15014 -o json
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("create-remote-secret", epilog=CREATION_EXAMPLES)(create_remote_secret)
    app.command("remote-clusters", epilog=CLUSTERS_EXAMPLES)(remote_clusters)


def create_remote_secret(
    name: Annotated[
        str, typer.Option("--name", help="Id of the cluster; default: the uid of kube-system.")
    ] = "",
    type_: Annotated[
        Kind, typer.Option("--type", help="remote: to read services; config: a kubeconfig.")
    ] = Kind.REMOTE,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Namespace of account and Secret.")
    ] = "istio-system",
    service_account: Annotated[
        str, typer.Option("--service-account", help="Whose token is taken; default by type.")
    ] = "",
    server: Annotated[
        str, typer.Option("--server", help="Address of the API server, as others reach it.")
    ] = "",
    auth_type: Annotated[
        str, typer.Option("--auth-type", help="Only bearer-token.")
    ] = "bearer-token",
    duration: Annotated[
        str,
        typer.Option(help="Ask for a token that lives this long; default: one that does not end."),
    ] = "",
    create_service_account: Annotated[
        bool,
        typer.Option(help="Make the account with the rights to read, if there is none."),
    ] = True,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Print a Secret by which a control plane reads this cluster; apply it in the other one.

    The token in it is as good as a password: the output is not for logs.
    """
    if auth_type != "bearer-token":
        raise CommandError(
            f"--auth-type {auth_type} is not supported: plug-ins of a kubeconfig are programs that"
            " whoever may write the Secret would run within Galley, and Galley refuses them",
            hint="use --auth-type bearer-token",
            status=2,
        )
    if name and not _LABEL.fullmatch(name):
        raise CommandError(
            f"--name {name!r} is no cluster id; allowed: up to 63 of a-z, 0-9 and '-'", status=2
        )
    account = service_account or (READER if type_ is Kind.REMOTE else CONTROL_PLANE)
    make = create_service_account and type_ is Kind.REMOTE
    wanted = _Wanted(account, namespace, make, _lifetime(duration))
    choice = ClusterChoice(kubeconfig, context)
    access = choice.access()
    cluster, token, ca_pem = choice.ask(lambda api: _prepared(api, name, wanted))
    reached = server or access.server
    if not server and urlsplit(reached).hostname in _HERE:
        note(f"{reached} leads nowhere from another cluster; tell --server how it is reached there")
    way = Way(reached, ca_pem or access.ca_pem, token)
    sys.stdout.write(secret_text(cluster, namespace, type_, way))


@dataclass(frozen=True)
class _Wanted:
    """An account, whether it may be made, and for how long a token of it is to live."""

    account: str
    namespace: str
    make: bool
    lifetime: timedelta | None


def _lifetime(text: str) -> timedelta | None:
    try:
        return parsed_duration(text) if text else None
    except ValueError as error:
        raise CommandError(f"--duration: {error}", status=2) from error


async def _prepared(api: Api, name: str, wanted: _Wanted) -> tuple[str, str, bytes]:
    """The cluster's id, a token of the account, and the roots of the server if they are told."""
    if not name:
        name = str((await api.get(NAMESPACES, "kube-system"))["metadata"]["uid"])
    if wanted.make:
        await _make_account(api, wanted)
    if wanted.lifetime is not None:
        seconds = int(wanted.lifetime.total_seconds())
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": wanted.account, "namespace": wanted.namespace},
            "spec": {"expirationSeconds": seconds},
        }
        made = await api.create(SERVICE_ACCOUNTS, body, subresource="token")
        return name, str(made["status"]["token"]), b""
    data = await _token_data(api, wanted)
    return name, base64.b64decode(data["token"]).decode(), base64.b64decode(data.get("ca.crt", ""))


async def _make_account(api: Api, wanted: _Wanted) -> None:
    """Account, role and binding, as far as they are not there."""
    role, binding = reader(wanted.account, wanted.namespace)
    account = {"metadata": {"name": wanted.account, "namespace": wanted.namespace}}
    for resource, body in (
        (SERVICE_ACCOUNTS, account),
        (CLUSTER_ROLES, role),
        (CLUSTER_ROLE_BINDINGS, binding),
    ):
        await _make(api, resource, body)


async def _make(api: Api, resource: Resource, body: Object) -> None:
    try:
        await api.create(resource, body)
    except AlreadyExists:
        return
    note(f"made {resource.kind} {body['metadata']['name']}")


async def _token_data(api: Api, wanted: _Wanted) -> dict[str, str]:
    """What Kubernetes puts into a Secret of the account, made if there is none."""
    await api.get(SERVICE_ACCOUNTS, wanted.account, wanted.namespace)
    secret = token_secret(wanted.account, wanted.namespace)
    await _make(api, SECRETS, secret)
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                found = await api.get(SECRETS, secret["metadata"]["name"], wanted.namespace)
                data: dict[str, str] = found.get("data") or {}
                if data.get("token"):
                    return data
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise CommandError(
            f"Kubernetes puts no token into the Secret {secret['metadata']['name']}",
            hint="ask for a token that ends: --duration 8760h",
        ) from error


def remote_clusters(
    galley: Annotated[
        str, typer.Option("--galley", help="Galley's monitoring address; default: etcd.")
    ] = "",
    output: Annotated[Format, typer.Option("-o", "--output", help="Format.")] = Format.TABLE,
) -> None:
    """Show the clusters that each Galley reads, and how far it has got."""
    if galley:
        data = page(galley, "/debug/clusterz", "Galley")
    else:
        data = list(published(live_entries((STATUS_CLUSTERS,))))
    show(data, output, COLUMNS, rows_of(data))
    for each in data:
        if detail := each.get("detail"):
            note(f"{each['id']} {each['secretName']}: {detail}")


def rows_of(data: Iterable[dict[str, Any]]) -> list[list[str]]:
    """Rows under ``COLUMNS``."""
    names = ("id", "secretName", "syncStatus", "istiod", "revision")
    return [[each[name] for name in names] for each in data]


def published(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """What replicas tell of themselves in etcd, as their pages do."""
    for entry in entries:
        told = ClustersStatus.FromString(entry.value or b"")
        for each in told.clusters:
            found = {
                "id": each.cluster,
                "secretName": each.secret,
                "syncStatus": each.status,
                "istiod": told.replica,
                "revision": told.revision,
            }
            yield {**found, "detail": each.detail} if each.detail else found

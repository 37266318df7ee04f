"""workload group, workload entry: machines of their own that join the mesh."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.cli import connect
from mast.cli.config_commands import problem_line, sources
from mast.cli.errors import CommandError
from mast.cli.local.home import Home
from mast.cli.local.spec import CLUSTER
from mast.cli.onboarding.files import HOSTS, TOKEN, Choices, files, is_address, named
from mast.cli.onboarding.group import Group, new_group
from mast.cli.output import Format, note, show
from mast.cli.pilot_pages import page, pilot_address
from mastapi.citadel.v1 import citadel_pb2
from mastapi.galley.v1 import config_pb2

CALL_SECONDS = 30
GROUP_KIND = "networking.istio.io/WorkloadGroup"
MESH_KIND = "mesh.istio.io/MeshConfig"
SERVICE_KIND = "networking.istio.io/ServiceEntry"

CREATE_EXAMPLES = """\b
Example:
  mastctl workload group create --name web --namespace shop --labels app=web,version=v1 \\
    --ports http=8080 --serviceAccount web | mastctl apply -f -
"""
CONFIGURE_EXAMPLES = """\b
Examples:
  mastctl workload entry configure -f group.yaml -o vm --autoregister --internalIP 10.0.0.7
  mastctl workload entry configure --name web --namespace shop -o vm --autoregister
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    workload = typer.Typer(no_args_is_help=True)
    group = typer.Typer(no_args_is_help=True)
    entry = typer.Typer(no_args_is_help=True)
    group.command(epilog=CREATE_EXAMPLES)(create)
    entry.command(epilog=CONFIGURE_EXAMPLES)(configure)
    entry.command(name="list")(list_entries)
    workload.add_typer(group, name="group", help="Groups of workloads outside any platform.")
    workload.add_typer(entry, name="entry", help="Single workloads of such a group.")
    app.add_typer(workload, name="workload", help="Workloads on machines of their own.")


def create(
    name: Annotated[str, typer.Option(help="Name of the group.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "default",
    labels: Annotated[
        list[str] | None, typer.Option("-l", "--labels", help="NAME=VALUE,... of its workloads.")
    ] = None,
    annotations: Annotated[
        list[str] | None, typer.Option("-a", "--annotations", help="NAME=VALUE,...")
    ] = None,
    ports: Annotated[
        list[str] | None, typer.Option("-p", "--ports", help="NAME=NUMBER,... they serve.")
    ] = None,
    service_account: Annotated[
        str, typer.Option("-s", "--serviceAccount", help="Identity of its workloads.")
    ] = "default",
) -> None:
    """Print a WorkloadGroup, for mastctl apply."""
    try:
        made = new_group(
            name,
            namespace,
            labels=labels or (),
            annotations=annotations or (),
            ports=ports or (),
            service_account=service_account,
        )
    except ValueError as error:
        raise CommandError(str(error), status=2) from error
    typer.echo(yaml.safe_dump(made.document(), sort_keys=False), nl=False)


def configure(
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory for the files.")],
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="File with the WorkloadGroup.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of a stored WorkloadGroup instead.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "default",
    cluster_id: Annotated[
        str, typer.Option("--clusterID", help="Cluster to join; default: of this mesh.")
    ] = "",
    ingress_ip: Annotated[
        str, typer.Option("--ingressIP", help="Where the machine reaches the control plane.")
    ] = "",
    ingress_service: Annotated[
        str, typer.Option("--ingressService", help="Service whose address that is.")
    ] = "",
    internal_ip: Annotated[
        str, typer.Option("--internalIP", help="The workload's address inside the mesh's network.")
    ] = "",
    external_ip: Annotated[
        str, typer.Option("--externalIP", help="Its address, if others reach it by another one.")
    ] = "",
    autoregister: Annotated[
        bool, typer.Option("--autoregister", help="Register the workload while it is connected.")
    ] = False,
    capture_dns: Annotated[
        bool, typer.Option("--capture-dns/--no-capture-dns", help="Answer DNS on the machine.")
    ] = True,
    token_duration: Annotated[
        int, typer.Option("--tokenDuration", help="Seconds in which the first start must be.")
    ] = 3600,
    token: Annotated[
        Path | None, typer.Option(help="File with a token of a platform, instead of a join token.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root-cert", help="File with roots, instead of Citadel's.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Revision of the control plane.")] = "",
    system_namespace: Annotated[
        str, typer.Option("-i", "--istioNamespace", help="Namespace of the control plane.")
    ] = "istio-system",
    discovery: Annotated[
        str, typer.Option("--discovery", help="HOST:PORT of Pilot; default: of this mesh.")
    ] = "",
    ca: Annotated[
        str, typer.Option("--ca", help="HOST:PORT of Citadel, if that is elsewhere.")
    ] = "",
    server: Annotated[
        str, typer.Option(envvar="MAST_GALLEY", help="Galley's address; default: of this mesh.")
    ] = "",
    citadel: Annotated[
        str, typer.Option(envvar="MAST_CITADEL", help="Citadel's administration; the same.")
    ] = "",
) -> None:
    """Write the files with which a machine joins the mesh as a workload of a WorkloadGroup."""
    if bool(file) == bool(name):
        raise CommandError("give either a file (-f) or a name (--name)", status=2)
    if token_duration <= 0:
        raise CommandError(f"--tokenDuration {token_duration}: want seconds above 0", status=2)
    place = _place(server, citadel)
    host = Choices(namespace=system_namespace, revision=revision).host
    pilot, authority, gateway = named(
        host, discovery or place.pilot, ca or place.ca, ingress_ip or ""
    )
    try:
        choices = Choices(
            cluster_id=cluster_id or place.cluster,
            namespace=system_namespace,
            revision=revision,
            discovery=pilot,
            ca=authority,
            ingress_ip=gateway,
            internal_ip=internal_ip,
            external_ip=external_ip,
            register=autoregister,
            capture_dns=capture_dns,
        )
    except ValueError as error:
        raise CommandError(str(error), status=2) from error
    wanted = Wanted(file, name, namespace, ingress_service, token, root, token_duration)
    made = asyncio.run(_files(place, wanted, choices))
    write(output, made)
    note(f"Wrote {', '.join(made)} to {output}; they belong on one machine only.")
    leads_to = made[HOSTS].partition(" ")[0]
    if not leads_to:
        note(f"{HOSTS} is empty: --ingressIP says where {choices.host} is to lead.")
    elif ip_address(leads_to).is_loopback:
        note(f"{leads_to} is this machine only: --ingressIP says where others reach the mesh.")


def list_entries(
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Of this namespace only.")
    ] = "",
    pilot: Annotated[
        str, typer.Option(envvar="MAST_PILOT", help="Pilot's debug address; default: of this mesh.")
    ] = "",
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Format of the result.")
    ] = Format.TABLE,
) -> None:
    """Show workloads that registered themselves, as the WorkloadEntries they amount to."""
    path = f"/debug/workloadz?{urlencode({'namespace': namespace} if namespace else {})}"
    found = page(pilot_address(pilot), path)
    rows = []
    for each in found:
        meta = each["metadata"]
        rows.append(
            [
                meta["name"],
                meta["namespace"],
                each["spec"]["address"],
                meta["annotations"]["istio.io/autoRegistrationGroup"],
                each["status"]["conditions"][0]["status"],
            ]
        )
    show(found, output, ["NAME", "NAMESPACE", "ADDRESS", "GROUP", "HEALTHY"], rows)


@dataclass(frozen=True)
class Place:
    """Where the control plane is: what was said, else that of this machine's mesh."""

    galley: str = ""
    citadel: str = ""
    pilot: str = ""
    ca: str = ""
    cluster: str = "Kubernetes"


def _place(server: str, citadel: str) -> Place:
    mesh = Home.default().mesh()
    if mesh is None or not mesh.supervisor.alive():
        return Place(server, citadel)
    at = mesh.addresses
    return Place(
        galley=server or at["galley-admin"],
        citadel=citadel or at["citadel-admin"],
        pilot=at["pilot-secure"],
        ca=at["citadel"],
        cluster=CLUSTER,
    )


@dataclass(frozen=True)
class Wanted:
    """Which group, and what replaces the answers of the control plane."""

    file: Path | None
    name: str
    namespace: str
    ingress_service: str
    token: Path | None
    root: Path | None
    token_seconds: int


async def _files(place: Place, wanted: Wanted, choices: Choices) -> dict[str, str]:
    group = await _group(place, wanted)
    mesh = await _mesh_config(place) if place.galley else {}
    if wanted.ingress_service:
        found = await _service_address(place, wanted.ingress_service, choices.namespace)
        choices = replace(choices, ingress_ip=found)
    roots = _text(wanted.root) if wanted.root else await _roots(place)
    token = _text(wanted.token) if wanted.token else await _join_token(place, group, wanted)
    try:
        return files(group, mesh, choices, roots=roots, token=token)
    except ValueError as error:
        raise CommandError(str(error)) from error


async def _group(place: Place, wanted: Wanted) -> Group:
    if wanted.file is not None:
        return _group_in(wanted.file, wanted.namespace)
    for item in await _stored(place, GROUP_KIND, wanted.namespace):
        if item.metadata.name == wanted.name:
            meta = item.metadata
            spec = ParseDict(MessageToDict(item.spec), WorkloadGroup())
            return Group(meta.name, meta.namespace, spec, dict(meta.annotations))
    raise CommandError(
        f"there is no WorkloadGroup {wanted.name!r} in namespace {wanted.namespace!r}",
        hint=f"mastctl workload group create --name {wanted.name} ... | mastctl apply -f -",
    )


def _group_in(file: Path, namespace: str) -> Group:
    """The one WorkloadGroup in a file; what Galley would refuse is refused."""
    from mast.cli.offline.reading import Options, read
    from mast.galley.api.problems import problem

    found = read(sources([file]), Options(namespace))
    if found.errors:
        lines = [problem_line(problem(each)) for each in found.errors]
        raise CommandError("\n".join(["invalid configuration", *lines]))
    groups = [o for o in found.objects.values() if o.kind.name == "WorkloadGroup"]
    if len(groups) != 1:
        raise CommandError(f"{file}: {len(groups)} WorkloadGroups, want one")
    (only,) = groups
    return Group(only.meta.name, only.meta.namespace, only.spec, dict(only.meta.annotations))


async def _mesh_config(place: Place) -> Mapping[str, Any]:
    found = await _stored(place, MESH_KIND, "")
    return MessageToDict(found[0].spec) if found else {}


async def _service_address(place: Place, service: str, system_namespace: str) -> str:
    """Where a service of the mesh is reached: of its ServiceEntry."""
    name, _, namespace = service.partition(".")
    namespace = namespace or system_namespace
    for item in await _stored(place, SERVICE_KIND, namespace):
        if item.metadata.name == name:
            spec = MessageToDict(item.spec)
            endpoints = [each.get("address", "") for each in spec.get("endpoints", ())]
            for address in (*spec.get("addresses", ()), *endpoints):
                if is_address(address):
                    return str(address)
    raise CommandError(
        f"--ingressService: no ServiceEntry {namespace}/{name} with an address",
        hint="name the address itself with --ingressIP",
    )


async def _stored(place: Place, kind: str, namespace: str) -> Sequence[config_pb2.Object]:
    if not place.galley:
        raise CommandError("no mesh runs here", hint="name its Galley with --server")
    request = config_pb2.ListRequest(kinds=[kind], namespace=namespace)
    async with connect.galley(place.galley) as api:
        return (await api.List(request, timeout=CALL_SECONDS)).objects


async def _roots(place: Place) -> str:
    async with connect.citadel_at(_citadel(place)) as citadel:
        return (await citadel.GetBundle(citadel_pb2.GetBundleRequest(), timeout=10)).roots_pem


async def _join_token(place: Place, group: Group, wanted: Wanted) -> str:
    """A secret that counts once: later the machine's own certificate speaks for it."""
    request = citadel_pb2.CreateJoinTokenRequest(
        namespace=group.namespace, service_account=group.service_account
    )
    request.ttl.FromTimedelta(timedelta(seconds=wanted.token_seconds))
    async with connect.citadel_at(_citadel(place)) as citadel:
        return (await citadel.CreateJoinToken(request, timeout=10)).token


def _citadel(place: Place) -> str:
    if not place.citadel:
        raise CommandError(
            "no mesh runs here",
            hint="name its Citadel with --citadel, or give --token and --root-cert",
        )
    return place.citadel


def _text(file: Path) -> str:
    (source,) = sources([file])
    return source.text


def write(directory: Path, contents: Mapping[str, str]) -> None:
    """Write files; the token is for its owner only."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        mode = 0o600 if name == TOKEN else 0o644
        path = directory / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)

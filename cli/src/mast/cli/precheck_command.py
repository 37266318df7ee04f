"""precheck: whether a cluster, and an etcd, are such that Mast can be installed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mast.cli.analyze_command import FOUND, AnalysisFormat, document, line
from mast.cli.cobra import CobraCommand
from mast.cli.errors import CommandError
from mast.cli.kubernetes_access import ClusterChoice, Context, IstioNamespace, Kubeconfig
from mast.cli.output import dump, note

if TYPE_CHECKING:
    from mast.common.kubernetes import Api
    from mast.galley.core.analysis.snapshot import Message

SECONDS = 10
# The first etcd whose leases and transactions are as Mast uses them.
ETCD_SINCE = (3, 4)

EXAMPLES = """\b
Examples:
  mastctl precheck
  mastctl x precheck --from-version 1.4.10
  mastctl precheck --etcd https://etcd-0.etcd:2379 --etcd-ca ca.pem
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(cls=CobraCommand, epilog=EXAMPLES)(precheck)


def precheck(
    from_version: Annotated[
        str, typer.Option("-f", "--from-version", help="Of the Istio that is there so far.")
    ] = "",
    etcd: Annotated[
        list[str] | None, typer.Option(help="Address of an etcd that is to be used.")
    ] = None,
    etcd_ca: Annotated[Path | None, typer.Option(help="Its CA.")] = None,
    etcd_cert: Annotated[Path | None, typer.Option(help="Certificate for it.")] = None,
    etcd_key: Annotated[Path | None, typer.Option(help="Key of the certificate.")] = None,
    output: Annotated[
        AnalysisFormat, typer.Option("-o", "--output", help="Format of the messages.")
    ] = AnalysisFormat.LOG,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
    istio_namespace: IstioNamespace = "istio-system",
) -> None:
    """Find what is in the way of an installation, or of an upgrade.

    The version of Kubernetes, the rights of whoever asks, webhooks and definitions that are there,
    what a version changes; with --etcd also that this is one Mast can use. Exit status with -o log:
    0, 79 (there are errors).
    """
    from mast.galley.core.analysis.codes import CODES, Level

    asked = ClusterChoice(kubeconfig, context).ask(lambda api: messages(api, istio_namespace))
    found = sorted([*asked, *_upgrade(from_version)], key=lambda each: each.rank)
    problems = asyncio.run(etcd_problems(etcd, etcd_ca, etcd_cert, etcd_key)) if etcd else []
    if output is AnalysisFormat.LOG:
        sys.stdout.writelines(f"{line(each)}\n" for each in found)
    else:
        sys.stdout.write(dump([document(each) for each in found], output))
    for problem in problems:
        note(f"Error (etcd) {problem}")
    if output is AnalysisFormat.LOG:
        if problems or any(CODES[each.code].level is Level.ERROR for each in found):
            raise CommandError("this is in the way of an installation", status=FOUND)
        if not found:
            note("\u2714 No issues found when checking the cluster: Mast can be installed.")


async def messages(api: Api, namespace: str) -> list[Message]:
    """What of a cluster is in the way of an installation into a namespace."""
    from mast.common.kubernetes import Object, Resource
    from mast.common.kubernetes.objects import (
        MUTATING_WEBHOOK_CONFIGURATIONS,
        VALIDATING_WEBHOOK_CONFIGURATIONS,
    )
    from mast.galley.core.analysis import precheck as core
    from mast.galley.core.analysis.reading import observed

    definitions = Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
    )
    kinds = (definitions, MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS)
    objects: list[Object] = []
    for kind in kinds:
        objects += (await api.list(kind)).objects
    return [
        *core.of_version(await api.version()),
        *core.of_rights(await _missing(api, namespace)),
        *core.of_objects(item for each in objects for item in observed(each)),
    ]


async def _missing(api: Api, namespace: str) -> list[tuple[str, str]]:
    """What whoever asks may not create."""
    from mast.common.kubernetes.objects import SELF_SUBJECT_ACCESS_REVIEWS
    from mast.galley.core.analysis.precheck import RIGHTS

    missing = []
    for group, plural, inside in RIGHTS:
        about: dict[str, Any] = {"verb": "create", "group": group, "resource": plural}
        if inside:
            about["namespace"] = namespace
        review = {"metadata": {}, "spec": {"resourceAttributes": about}}
        answer = await api.create(SELF_SUBJECT_ACCESS_REVIEWS, review)
        if not answer["status"]["allowed"]:
            missing.append((group, plural))
    return missing


def _upgrade(version: str) -> Iterator[Message]:
    from mast.galley.core.analysis.precheck import of_upgrade

    if version:
        yield from of_upgrade(version)


async def etcd_problems(
    endpoints: Sequence[str], ca: Path | None, cert: Path | None, key: Path | None
) -> list[str]:
    """What is wrong with each member: it does not answer, is too old, or has no leader."""
    import grpc

    from mast.cli.etcd_snapshot import reached
    from mast.common.etcd.stubs import rpc_pb2, rpc_pb2_grpc

    problems = []
    for each in endpoints:
        address = each.removeprefix("https://").removeprefix("http://")
        async with reached(address, ca, cert, key) as channel:
            stub = rpc_pb2_grpc.MaintenanceStub(channel)
            try:
                told = await stub.Status(rpc_pb2.StatusRequest(), timeout=SECONDS)
            except grpc.aio.AioRpcError as error:
                problems.append(f"{address}: {error.code().name}: {error.details()}")
                continue
        if _numbers(told.version) < ETCD_SINCE:
            needed = ".".join(map(str, ETCD_SINCE))
            problems.append(f"{address}: etcd {told.version}; want {needed} or newer")
        if not told.leader:
            problems.append(f"{address}: the members have no leader")
    return problems


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())

"""Which cluster a command is about, as kubectl's users say it, and its API server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mast.cli.errors import CommandError
from mast.common.kubernetes import Access, Api, ApiFailure, InvalidAccess, connect, in_cluster
from mast.common.kubernetes import kubeconfig as read_kubeconfig

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "-c", "--kubeconfig", help="File; default: $KUBECONFIG, ~/.kube/config, or the pod's own."
    ),
]
Context = Annotated[str, typer.Option("--context", help="Of the kubeconfig; default: its current.")]
IstioNamespace = Annotated[
    str, typer.Option("-i", "--istioNamespace", help="Namespace of the control plane.")
]

T = TypeVar("T")


@dataclass(frozen=True)
class ClusterChoice:
    """A kubeconfig, None for the usual ones, and one of its contexts, "" for its current one."""

    kubeconfig: Path | None = None
    context: str = ""

    def access(self) -> Access:
        """How to reach the cluster; CommandError if nothing says."""
        file = self.kubeconfig or _usual()
        try:
            if file is None:
                return in_cluster(os.environ)
            return read_kubeconfig(file.read_text("utf-8"), self.context, base=file.parent)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"cannot read {file}: {error}") from error
        except InvalidAccess as error:
            where = f"{file}: " if file else "there is no kubeconfig, and "
            raise CommandError(f"{where}{error}", hint="name one with --kubeconfig") from error

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        """The cluster's API server; what it refuses becomes a CommandError."""
        try:
            async with connect(self.access()) as api:
                yield api
        except (ApiFailure, InvalidAccess) as error:
            raise CommandError(f"Kubernetes: {error}") from error

    def ask(self, question: Callable[[Api], Awaitable[T]]) -> T:
        """What an asynchronous function of the API server returns."""

        async def asked() -> T:
            async with self.api() as api:
                return await question(api)

        return asyncio.run(asked())


def _usual() -> Path | None:
    """Where kubectl looks: the first file of $KUBECONFIG that is there, then the home's."""
    named = [Path(each) for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    candidates = named or [Path.home() / ".kube" / "config"]
    found = next((each for each in candidates if each.exists()), None)
    return found or (named[0] if named else None)

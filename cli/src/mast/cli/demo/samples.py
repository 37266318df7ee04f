"""Where the sample application and its configuration are, and how it is run as workloads."""

from __future__ import annotations

import sys
from pathlib import Path

import mast.cli
from mast.cli.errors import CommandError
from mast.cli.local.spec import Port, Spec

HTTP = (Port(9080, "http"),)


def bookinfo() -> Path:
    """The sample's directory in the checkout that this package was installed from (editable)."""
    found = Path(mast.cli.__file__).parents[4] / "samples" / "bookinfo"
    if not found.is_dir():
        raise CommandError(
            "the samples are not installed", hint="run it from a checkout: ./mast demo"
        )
    return found


def workloads(scratch: Path) -> list[Spec]:
    """The application: eight workloads of five services.

    ``scratch`` holds the load generator's socket (``loadgen.sock``) and the files that order the
    ratings instances to fail (``ratings-a.json``, ``ratings-b.json``).
    """
    return [
        _app("productpage"),
        _app("details"),
        *(_app("reviews", version, VERSION=version) for version in ("v1", "v2", "v3")),
        _app("ratings", "v1", FAULT_FILE=str(scratch / "ratings-a.json")),
        _app("ratings", "v2", FAULT_FILE=str(scratch / "ratings-b.json")),
        Spec(
            service="loadgen",
            command=(*_python("loadgen"), "--control", str(scratch / "loadgen.sock")),
            service_account="bookinfo-loadgen",
        ),
    ]


def _app(name: str, version: str = "v1", **environment: str) -> Spec:
    return Spec(
        service=name,
        command=_python(name),
        ports=HTTP,
        version=version,
        service_account=f"bookinfo-{name}",
        environment=environment,
    )


def _python(name: str) -> tuple[str, ...]:
    return (sys.executable, "-u", str(bookinfo() / "apps" / f"{name}.py"))

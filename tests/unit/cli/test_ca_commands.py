"""What `mastctl ca` asks and tells (docs/certificate-rotation.md)."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from typer.testing import CliRunner

from mast.cli.main import app, main
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc

Slot = citadel_pb2.Authority.Slot


def authorities() -> citadel_pb2.Authorities:
    """An active CA and one that is prepared, which somebody does not know yet."""
    made = citadel_pb2.Authorities(trust_domain="a.example", sequence=5)
    made.slots.add(id="3f2a91bc", state=Slot.OLD, tainted=True, key_manager="etcd", revoked=2)
    made.slots.add(id="77aa00ff", state=Slot.ACTIVE, key_manager="pkcs11")
    for each in made.slots:
        each.not_before.FromJsonString("2024-05-01T12:00:00Z")
        each.not_after.FromJsonString("2034-05-01T12:00:00Z")
    made.slots[0].retires_at.FromJsonString("2024-08-01T12:00:00Z")
    known = made.knowledge
    known.connected, known.holding, known.silent = 10, 8, 1
    known.lagging.append("sidecar~10.1.0.7~web-1.shop~shop")
    known.problem = "8 of 10 that are connected confirmed the roots"
    return made


@dataclass
class Admin(citadel_pb2_grpc.CitadelAdminServicer):
    """Answers with the same, and refuses as often as it is told to."""

    asked: list[Any] = field(default_factory=list)
    refusals: int = 0

    async def _answer(self, request: Any, context: Any) -> citadel_pb2.Authorities:
        self.asked.append(request)
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "8 of 10: 2 more are needed")
        return authorities()

    GetAuthorities = PrepareAuthority = ActivateAuthority = _answer  # type: ignore[assignment]
    TaintAuthority = RevokeAuthority = RevokeCertificates = _answer  # type: ignore[assignment]

    async def GetBundle(self, request: Any, context: Any) -> citadel_pb2.GetBundleResponse:
        return citadel_pb2.GetBundleResponse(trust_domain="a.example", roots_pem="the roots\n")


@dataclass
class Running:
    admin: Admin
    address: str

    def run(self, *arguments: str) -> Any:
        found = CliRunner().invoke(app, ["ca", *arguments, "--citadel", self.address])
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found


@pytest.fixture
def citadel() -> Iterator[Running]:
    """Citadel's administration socket, served from a thread: commands have a loop of their own."""
    admin, ready, over = Admin(), threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory(prefix="ca-") as directory:
        address = f"unix:{Path(directory, 's')}"

        async def serve() -> None:
            server = grpc.aio.server()
            citadel_pb2_grpc.add_CitadelAdminServicer_to_server(admin, server)
            server.add_insecure_port(address)
            await server.start()
            ready.set()
            await asyncio.to_thread(over.wait)
            await server.stop(None)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert ready.wait(30)
        try:
            yield Running(admin, address)
        finally:
            over.set()
            thread.join()


def test_status_for_people(citadel: Running) -> None:
    found = citadel.run("status")
    lines = found.stdout.splitlines()
    assert lines[0].split() == [
        "SLOT",
        "STATE",
        "NOT",
        "BEFORE",
        "NOT",
        "AFTER",
        "TRUSTED",
        "UNTIL",
        "KEY",
        "REVOKED",
    ]
    assert "3f2a91bc" in lines[1]
    assert "OLD, TAINTED" in lines[1]
    assert "2024-08-01 12:00:00Z" in lines[1]
    assert "ACTIVE" in lines[2]
    assert "8 of 10 that are connected confirmed the roots (bundle 5), 1 never confirm" in (
        found.stderr
    )
    assert "The next step waits: 8 of 10" in found.stderr


def test_status_for_programs(citadel: Running) -> None:
    told = json.loads(citadel.run("status", "-o", "json").stdout)
    assert (told["connected"], told["confirmed"], told["silent"]) == (10, 8, 1)
    assert told["lagging"] == ["sidecar~10.1.0.7~web-1.shop~shop"]
    assert [(s["id"], s["state"], s["tainted"]) for s in told["slots"]] == [
        ("3f2a91bc", "OLD", True),
        ("77aa00ff", "ACTIVE", False),
    ]
    assert told["slots"][1]["trustedUntil"] is None


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["prepare"], citadel_pb2.PrepareAuthorityRequest()),
        (
            ["activate", "77", "--force"],
            citadel_pb2.ActivateAuthorityRequest(slot="77", force=True),
        ),
        (["taint"], citadel_pb2.TaintAuthorityRequest()),
        (["revoke", "3f"], citadel_pb2.RevokeAuthorityRequest(slot="3f")),
        (
            ["revoke", "--serial", "a1", "--serial", "b2"],
            citadel_pb2.RevokeCertificatesRequest(serials=["a1", "b2"]),
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_commands(citadel: Running, arguments: list[str], asked: Any) -> None:
    assert citadel.run(*arguments).exit_code == 0
    assert citadel.admin.asked == [asked]


def test_what_the_mesh_is_not_ready_for_is_refused(
    citadel: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    citadel.admin.refusals = 1
    with pytest.raises(SystemExit) as ended:
        main(["ca", "activate", "--citadel", citadel.address])
    assert ended.value.code == 1
    assert "Error: 8 of 10: 2 more are needed" in capsys.readouterr().err


def test_or_waited_for(citadel: Running) -> None:
    citadel.admin.refusals = 2
    assert citadel.run("activate", "--wait", "60").exit_code == 0
    assert len(citadel.admin.asked) == 3


def test_bundle(citadel: Running) -> None:
    assert citadel.run("bundle").stdout == "the roots\n"

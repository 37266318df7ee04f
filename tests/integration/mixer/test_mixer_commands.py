"""mastctl against a running Mixer: as mixc (mixer.md I2, I3), and what is wrong (D7)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
import yaml

from mast.cli.config_commands import as_document
from mast.cli.errors import CommandError
from mast.cli.mixer import mixc
from mast.cli.mixer.load import Load
from mast.cli.output import Format
from mast.common.etcd import Store
from mast.common.keys import STATUS_MIXER
from mastapi.status.v1.status_pb2 import MixerStatus
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import mixer
from tests.integration.mixer.test_mixer_service import DENY, QUOTA, scraped
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import galley_server
from tests.support.mixer_config import TELEMETRY

Captured = pytest.CaptureFixture[str]


async def mastctl(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``mastctl``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.cli.main", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_check_and_report(etcd: EtcdServer, apply: Apply, capsys: Captured) -> None:
    """L47: the output of I3, word for word, for answers that allow, deny and grant."""
    await apply(TELEMETRY, DENY, QUOTA.replace("requestcount", "calls"))
    async with mixer(etcd.endpoint) as running:
        at = await running.address("grpc")
        attributes = {"source.principal": "ann"}
        documents = mixc.Output(Format.JSON)
        capsys.readouterr()
        await mixc.check(at, attributes, {"calls": 4}, "", Load(repeat=2), documents)
        first, second = json.loads(capsys.readouterr().out)
        assert first["status"]["name"] == "OK"
        assert first["quotas"]["calls"]["grantedAmount"] == 4
        # mixc takes what is left.
        assert second["quotas"]["calls"]["grantedAmount"] == 1
        principal = {"name": "source.principal", "condition": "EXACT"}
        assert principal in first["quotas"]["calls"]["referencedAttributes"]
        absent = {"name": "request.headers", "condition": "ABSENCE"}
        assert absent in first["referencedAttributes"]

        bad = {"request.headers": {"x-bad": "yes"}}
        await mixc.check(at, bad, {}, "", Load(), mixc.Output())
        lines = capsys.readouterr().out.splitlines()
        denied = "PERMISSION_DENIED (denyall.istio-system:Not allowed)"
        assert lines[:3] == [
            f"Check RPC completed successfully. Check status was {denied}",
            "  Valid use count: 1000, valid duration: 5s",
            "  Referenced Attributes",
        ]
        references = [line.strip() for line in lines[3:]]
        assert references == sorted(references)
        assert "request.headers::x-bad EXACT" in references

        status, out, _ = await mastctl("mixer", "check", "-m", at, "-q", "calls=2,other=3")
        assert status == 0
        assert out.splitlines()[0] == "Check RPC completed successfully. Check status was OK"
        assert out.splitlines()[-3:] == [
            "  Quota  Granted Amount  Duration",
            "  calls  2               1m0s",
            "  other  3               1m0s",
        ]

        told = {"destination.service.host": "told.example", "context.protocol": "http"}
        await mixc.report(at, {**told, "response.code": 417}, 1, Load(), mixc.Output())
        assert capsys.readouterr().out == "Report RPC returned OK\n"
        attributes = ",".join(f"{name}={value}" for name, value in told.items())
        status, out, err = await mastctl(
            *("mixer", "report", "-m", at, "-s", attributes, "-i", "response.code=418"),
            *("-r", "3", "-c", "2", "--report_batch_size", "2", "--print_response=false"),
        )
        assert (status, out) == (0, "")
        assert "4 calls, 0 failed" in err
        assert await scraped(running, 'response_code="417"') == 1
        assert await scraped(running, 'response_code="418"') == 6


async def test_nobody_there(capsys: Captured) -> None:
    """A failed call is told as mixc does, the code as Go writes it (I3); the others go on."""
    nowhere, load = "127.0.0.1:9", Load(repeat=2)
    for said, tally in (
        ("Check RPC failed with: ", mixc.check(nowhere, {}, {}, "", load, mixc.Output())),
        ("Report RPC returned ", mixc.report(nowhere, {}, 1, load, mixc.Output())),
    ):
        counted = await tally
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{said}Unavailable (")
        assert second.startswith(f"{said}Unavailable (")
        with pytest.raises(CommandError, match=r"2 of 2 calls to 127\.0\.0\.1:9 failed") as failed:
            counted.insist(nowhere)
        assert "--mixer HOST:PORT" in failed.value.hint


BAD_RULE = """
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: typo, namespace: istio-system}
spec:
  match: request.sice > 5
  actions: [{handler: nobody, instances: [nothing]}]
"""


async def test_what_is_wrong_with_objects(
    etcd: EtcdServer, store: Store, apply: Apply, tmp_path: Path
) -> None:
    """D7: from Galley, which cannot know it, to Mixer's status, its page and `mastctl get`."""

    async def published(rules: int, wrong: int) -> MixerStatus:
        """The status of the only replica, once so many rules serve and objects do not."""
        async with asyncio.timeout(30):
            while True:
                for entry in (await store.list(STATUS_MIXER)).entries:
                    assert entry.lease
                    found = MixerStatus.FromString(entry.value)
                    if (found.rules, len(found.objects)) == (rules, wrong):
                        return found
                await asyncio.sleep(0.02)

    async with (
        galley_server(tmp_path, etcd.endpoint) as galley,
        mixer(etcd.endpoint) as running,
    ):
        await apply(TELEMETRY, DENY)
        before = await published(7, 0)
        revision = (await galley.apply(BAD_RULE)).revision
        status = await published(7, 1)
        assert status.handlers == before.handlers == 3
        assert status.snapshot > before.snapshot
        assert status.revision == revision
        assert [(each.object.name, each.version) for each in status.objects] == [("typo", "1")]
        assert [(each.fault, each.key, each.message) for each in status.objects[0].findings] == [
            (
                "mixer_config_rule_config_match_error_total",
                "match",
                "unknown attribute request.sice",
            ),
            (
                "mixer_config_unsatisfied_action_handler_total",
                "actions[0].handler",
                "Handler not found: handler='nobody'",
            ),
            ("mixer_config_rule_config_errors_total", "", "No valid actions found in rule"),
        ]
        code, page = await running.get("/debug/configz")
        assert (code, json.loads(page)["snapshot"]) == (200, status.snapshot)
        assert json.loads(page)["objects"][0]["object"]["name"] == "typo"

        server = ("--server", f"unix:{galley.config.admin_socket}", "-n", "istio-system")
        code, out, _ = await mastctl("get", "--findings", *server)
        assert code == 0
        rows = [line.split(None, 5) for line in out.splitlines()]
        assert rows[0] == ["KIND", "NAMESPACE", "NAME", "BY", "WHERE", "FINDING"]
        assert {row[2] for row in rows[1:]} == {"typo"}
        bad = ["rule", "istio-system", "typo", "mixer", "match", "unknown attribute request.sice"]
        assert bad in rows
        listed = await galley.listed("rule", namespace="istio-system", findings=True)
        document = as_document(listed["istio-system/typo"])
        assert document["status"]["findings"][0]["reporters"] == [f"mixer/{status.replica}"]
        # What was shown may be applied.
        assert (await galley.apply(yaml.safe_dump(document))).revision == 0

        await galley.apply(BAD_RULE.replace("request.sice > 5", '""').replace("nobody", "denyall"))
        await published(8, 0)
        await running.stop()
        assert (await store.list(STATUS_MIXER)).entries == ()

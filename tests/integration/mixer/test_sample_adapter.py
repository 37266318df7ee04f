"""The sample of an adapter out of process, run as its README says (mixer.md G.4)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import yaml

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from mast.mixer.core.values import Attributes
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import check_request, client, mixer
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY
from tests.support.pki import Ca

SAMPLE = Path(__file__).parents[3] / "samples" / "mixer-adapter"
ADDRESS = "127.0.0.1:50051"
URI = "spiffe://cluster.local/ns/istio-system/sa/mixer"


def attributes(customer: str, path: str) -> Attributes:
    headers = {"x-customer": customer} if customer else {}
    return {"context.protocol": "http", "request.headers": headers, "request.path": path}


async def output(directory: Path, *command: object) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *map(str, command)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(directory)},
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode()


@asynccontextmanager
async def adapter(directory: Path, *flags: object) -> AsyncIterator[str]:
    """The sample's server; gives its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SAMPLE / "adapter.py"), "--listen", "127.0.0.1:0"),
        *map(str, flags),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(directory)},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        yield line.removeprefix("listening on ").strip()
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "mutual"])
async def test_the_sample_decides(
    etcd: EtcdServer, apply: Apply, tmp_path: Path, secure: bool
) -> None:
    await output(tmp_path, SAMPLE / "compile.py", tmp_path)
    objects = await output(tmp_path, SAMPLE / "objects.py")
    policy = (SAMPLE / "policy.yaml").read_text()
    judged = judge(read_text(f"{objects}---\n{policy}", "sample", Defaults()))
    assert [str(each) for each in judged.problems] == []
    flags, authentication = _secured(tmp_path) if secure else ([], {})
    async with adapter(tmp_path, *flags) as address:
        documents = list(yaml.safe_load_all(policy))
        connection = documents[0]["spec"]["connection"]
        assert connection["address"] == ADDRESS
        connection |= {"address": address, "timeout": "30s"}
        connection |= {"authentication": authentication} if secure else {}
        manifests = [each for each in yaml.safe_load_all(TELEMETRY) if _manifest(each)]
        await apply(objects, yaml.safe_dump_all(documents), yaml.safe_dump_all(manifests))
        async with mixer(etcd.endpoint) as running, client(running) as stub:
            for customer, path, code, message in (
                ("ann", "/details/0", 0, ""),
                ("ann", "/ratings/0", 7, "plan basic of ann has no /ratings/0"),
                ("bob", "/ratings/0", 0, ""),
                ("eve", "/", 7, "eve has no plan"),
                ("", "/", 16, "who are you?"),
            ):
                request = check_request(attributes(customer, path))
                verdict = (await stub.Check(request, timeout=30)).precondition
                whole = f"plans.handler.istio-system:{message}" if message else ""
                assert (verdict.status.code, verdict.status.message) == (code, whole)
                assert verdict.valid_duration.seconds == 60
                assert verdict.valid_use_count == 10_000


def _manifest(document: dict[str, object] | None) -> bool:
    return bool(document) and document["kind"] == "attributemanifest"  # type: ignore[index]


def _secured(directory: Path) -> tuple[list[object], dict[str, object]]:
    """Flags of the adapter, and how Mixer connects to it."""
    ca = Ca.root()
    authorities = directory / "ca.pem"
    authorities.write_bytes(ca.pem)
    files: dict[str, tuple[Path, Path]] = {}
    for name in ("server", "client"):
        pair = ca.leaf(uris=[URI])
        files[name] = directory / f"{name}.pem", directory / f"{name}.key"
        files[name][0].write_bytes(pair.chain)
        files[name][1].write_bytes(pair.key)
    certificate, key = files["server"]
    flags = ["--certificate", certificate, "--key", key, "--authorities", authorities]
    mutual = {
        "privateKey": str(files["client"][1]),
        "clientCertificate": str(files["client"][0]),
        "caCertificates": str(authorities),
    }
    return flags, {"mutual": mutual}

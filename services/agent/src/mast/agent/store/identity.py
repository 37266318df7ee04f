"""How this workload proves who it is: mounted files, or certificates of Citadel (B2, B3)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from mast.agent.config import Config
from mast.agent.core import paths, trust
from mast.agent.core.node import Node
from mast.agent.store.credentials import Identity
from mast.agent.store.files import read_if_there, text_if_there
from mast.agent.store.key_pairs import BadKeyPair, Mounted, read_pair
from mast.common.identity.ca_client import (
    Algorithm,
    CaClient,
    Certificate,
    WorkloadCertificates,
    encrypted,
)
from mast.common.latest import Latest

Sign = Callable[[bytes, timedelta], Awaitable[Certificate]]

CURRENT_PROVIDERS = ("Citadel", "Istiod", "")


def mounted(config: Config) -> Mounted | None:
    """The directory whose files are the identity; None if Citadel is asked.

    Credentials of the platform win over ``./etc/certs``, which is not looked at if the agent
    itself writes there (``OUTPUT_CERTS``: never a source, B3.6).
    """
    platform, own = Mounted(paths.WORKLOAD_CREDENTIALS), Mounted(paths.MOUNTED_CERTIFICATES)
    if not config.file_mounted_certs and platform.complete():
        return platform
    if config.file_mounted_certs or (own.complete() and not _same(config.output_certs, own)):
        return own
    return None


def _same(directory: str, other: Mounted) -> bool:
    return bool(directory) and Path(directory).resolve() == Path(other.directory).resolve()


def token() -> str | None:
    """The token for Citadel, read anew; None if there is none."""
    return text_if_there(paths.TOKEN).strip() or None


def presented(
    config: Config, identity: Latest[Identity | None]
) -> Callable[[], tuple[bytes, bytes] | None]:
    """Gives the client certificate: the workload's own, before there is one that of a file.

    Files are those of ``PROV_CERT`` and those that an agent before this one left in
    ``OUTPUT_CERTS``: whichever ends later (B2.1).
    """
    directories = [each for each in (config.provisioned_certs, config.output_certs) if each]

    def pair() -> tuple[bytes, bytes] | None:
        if identity.value is not None:
            return identity.value.chain, identity.value.key
        found = [pair for each in directories if (pair := _pair_in(each)) is not None]
        return max(found, key=_ends_at) if found else None

    return pair


def _pair_in(directory: str) -> tuple[bytes, bytes] | None:
    try:
        return read_pair(*Mounted(directory).files[:2])
    except BadKeyPair:
        return None


def _ends_at(pair: tuple[bytes, bytes]) -> datetime:
    return x509.load_pem_x509_certificate(pair[0]).not_valid_after_utc


def ca_roots(
    config: Config, address: str, identity: Latest[Identity | None]
) -> Callable[[], bytes]:
    """Gives the roots for Citadel: of a file, and those of the mesh, which may be newer (A8.5).

    Raises ValueError if they are needed and not there (B10).
    """
    path = trust.ca_root_file(config.ca_root, config.pilot_cert_provider, config.provisioned_certs)
    if path == trust.SYSTEM:
        return lambda: b""
    if encrypted(address) and not Path(path).exists():
        raise ValueError(f"roots for Citadel: {path}: no such file (CA_ROOT_CA names another)")

    def roots() -> bytes:
        known = identity.value.roots if identity.value is not None else b""
        return Path(path).read_bytes() + b"\n" + known

    return roots


def xds_root_files(config: Config) -> tuple[str, ...]:
    """Files that may hold the roots for Pilot; none if the machine's own count.

    Raises ValueError if ``XDS_ROOT_CA`` names a file that is not there (B10).
    """
    if config.xds_root == trust.SYSTEM:
        return ()
    if config.xds_root and not Path(config.xds_root).exists():
        raise ValueError(f"XDS_ROOT_CA {config.xds_root}: no such file")
    return trust.xds_root_files(config.xds_root, config.provisioned_certs)


def first_content(files: Sequence[str]) -> bytes:
    """What the first file that is there holds; nothing if there is none."""
    return next((text for each in files if (text := read_if_there(each))), b"")


def xds_roots(config: Config, identity: Latest[Identity | None]) -> Callable[[], bytes]:
    """Gives the roots for Pilot: of the first file that is there, and those of the mesh.

    Raises ValueError if ``XDS_ROOT_CA`` names a file that is not there (B10).
    """
    candidates = xds_root_files(config)
    if not candidates:
        return lambda: b""

    def roots() -> bytes:
        mesh = identity.value.roots if identity.value is not None else b""
        return first_content(candidates) + mesh

    return roots


def headers(env: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    """Metadata of variables like ``XDS_HEADER_X``, as gRPC wants it: lower case."""
    return [
        (name.removeprefix(prefix).lower(), value)
        for name, value in sorted(env.items())
        if name.startswith(prefix)
    ]


def certificates(
    config: Config,
    node: Node,
    env: Mapping[str, str],
    *,
    address: str,
    identity: Latest[Identity | None],
    now: Callable[[], datetime],
    observe: Callable[[Sign], Sign],
    before_retry: Callable[[timedelta], Awaitable[None]],
) -> WorkloadCertificates:
    """The certificates of this workload from Citadel at ``address``.

    Raises ValueError that names the setting that cannot be used.
    """
    if config.ca_provider not in CURRENT_PROVIDERS:
        raise ValueError(f"CA_PROVIDER {config.ca_provider!r}: want Citadel")
    signer = str(node.metadata.get("CERT_SIGNER", ""))
    client = CaClient(
        address=address,
        root_pem=ca_roots(config, address, identity),
        token=token,
        client_cert=presented(config, identity),
        now=now,
        cluster_id=node.cluster_id,
        metadata=headers(env, "CA_HEADER_"),
        request_metadata={"CertSigner": signer} if signer else {},
        tls_server_name=config.istiod_san,
        sleep=before_retry,
    )
    algorithm: Algorithm = trust.key_algorithm(
        config.ecc_algorithm, config.ecc_curve, config.rsa_key_size
    )
    return WorkloadCertificates(
        sign=observe(client.sign),
        spiffe_id=node.spiffe_id,
        now=now,
        ttl=config.secret_ttl,
        algorithm=algorithm,
        pkcs8=config.pkcs8_key,
        ratio=config.grace_ratio,
        jitter=config.grace_ratio_jitter,
    )

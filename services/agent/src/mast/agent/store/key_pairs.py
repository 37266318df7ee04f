"""Certificates and keys in files: read together, checked against each other, written (B3)."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mast.agent.core import paths
from mast.agent.store.files import read_if_there, write_atomically


class BadKeyPair(ValueError):
    """A certificate and a key that cannot be used together; names the files."""


@dataclass(frozen=True)
class Mounted:
    """A directory with certificate, key and roots of the workload."""

    directory: str

    @property
    def files(self) -> tuple[str, str, str]:
        """Paths of chain, key and roots."""
        names = (paths.CHAIN_FILE, paths.KEY_FILE, paths.ROOT_FILE)
        chain, key, roots = (str(Path(self.directory) / name) for name in names)
        return chain, key, roots

    def complete(self) -> bool:
        """All three files are there."""
        return all(Path(path).exists() for path in self.files)


def read_pair(chain: str, key: str) -> tuple[bytes, bytes]:
    """PEM of a certificate chain and of its key.

    Raises BadKeyPair if one is missing or unreadable, or if the key is not the certificate's.
    """
    try:
        chain_pem, key_pem = read_if_there(chain), read_if_there(key)
    except OSError as error:
        raise BadKeyPair(str(error)) from error
    if chain_pem is None or key_pem is None:
        missing = chain if chain_pem is None else key
        raise BadKeyPair(f"{missing}: no such file")
    try:
        certificate = x509.load_pem_x509_certificate(chain_pem)
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise BadKeyPair(f"{chain}, {key}: {error}") from error
    if certificate.public_key() != private.public_key():
        raise BadKeyPair(f"{key}: not the key of the certificate in {chain}")
    return chain_pem, key_pem


def write_pair(directory: Path, chain: bytes, key: bytes, roots: bytes, mode: int) -> None:
    """Put certificate, key and roots where others want them (``OUTPUT_CERTS``, B3.6)."""
    write_atomically(directory / paths.KEY_FILE, key, mode)
    write_atomically(directory / paths.CHAIN_FILE, chain, mode)
    write_atomically(directory / paths.ROOT_FILE, roots, mode)

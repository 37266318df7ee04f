"""Which files say whom the agent trusts (citadel-and-agent.md B2.4)."""

from typing import Final, Literal

from mast.agent.core import paths

Algorithm = Literal["P256", "P384", "RSA2048", "RSA3072", "RSA4096"]

SYSTEM: Final = "SYSTEM"
_MOUNTED: Final = f"{paths.MOUNTED_CERTIFICATES}/{paths.ROOT_FILE}"


def ca_root_file(explicit: str, cert_provider: str, provisioned: str) -> str:
    """The roots that vouch for Citadel: of ``CA_ROOT_CA``, of a custom provider, of ``PROV_CERT``,
    else the mesh's root; ``SYSTEM`` means the machine's own.
    """
    if explicit:
        return explicit
    if cert_provider == "custom":
        return _MOUNTED
    return f"{provisioned}/{paths.ROOT_FILE}" if provisioned else paths.ROOT_CERTIFICATE


def xds_root_files(explicit: str, provisioned: str) -> tuple[str, ...]:
    """Where roots for Pilot may be; the first file that is there counts."""
    if explicit:
        return (explicit,)
    found = (f"{provisioned}/{paths.ROOT_FILE}",) if provisioned else ()
    return (_MOUNTED, *found, paths.ROOT_CERTIFICATE)


def key_algorithm(ecc_algorithm: str, ecc_curve: str, rsa_bits: int) -> Algorithm:
    """The kind of workload key: P256 unless asked otherwise (citadel-and-agent.md B2.2).

    Raises ValueError that names the variable and what is allowed.
    """
    curves: dict[str, Algorithm] = {"P256": "P256", "P384": "P384"}
    sizes: dict[int, Algorithm] = {0: "P256", 2048: "RSA2048", 3072: "RSA3072", 4096: "RSA4096"}
    if ecc_algorithm:
        if ecc_algorithm != "ECDSA" or ecc_curve not in curves:
            raise ValueError(
                f"ECC_SIGNATURE_ALGORITHM {ecc_algorithm!r}, ECC_CURVE {ecc_curve!r}:"
                " want ECDSA with P256 or P384"
            )
        return curves[ecc_curve]
    if rsa_bits not in sizes:
        raise ValueError(f"WORKLOAD_RSA_KEY_SIZE {rsa_bits}: want 2048, 3072 or 4096")
    return sizes[rsa_bits]

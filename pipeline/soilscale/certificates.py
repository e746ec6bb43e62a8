"""Certificates of a Dask cluster: one self-signed pair, which scheduler, workers and client alone share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from soilscale.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Security

VALID = timedelta(days=365)
"""For which a pair is valid: longer than any run."""

EARLIER = timedelta(hours=1)
"""Before which it is valid too: clocks of machines differ."""

NAME = "soilscale-dask"


@dataclass(frozen=True)
class Pair:
    """Certificate, which is its own authority, and its key, both PEM."""

    certificate: str
    key: str

    def security(self) -> Security:
        """Settings of a client that holds the pair in memory and refuses any connection that is not encrypted."""
        from distributed import Security

        return Security(
            require_encryption=True,
            tls_ca_file=self.certificate,
            tls_client_cert=self.certificate,
            tls_client_key=self.key,
        )


def issue() -> Pair:
    """Make a new pair.

    Dask's ``Security.temporary`` does the same, but its certificate is valid from this very second on, which a machine
    whose clock is behind refuses.

    Raises
    ------
    ConfigurationError
        If the library that makes certificates is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise ConfigurationError(
            "certificates of a Dask cluster need cryptography: pip install soilscale[kubernetes]"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), encoded.decode())


def write(folder: Path) -> None:
    """Write a new pair as ``ca.crt``, ``tls.crt`` and ``tls.key`` into a folder, unless a complete one is there."""
    if (folder / "tls.crt").exists():
        return
    pair = issue()
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / "tls.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(pair.key)
    (folder / "ca.crt").write_text(pair.certificate, encoding="utf-8")
    # Last: it says that the pair is complete.
    (folder / "tls.crt").write_text(pair.certificate, encoding="utf-8")

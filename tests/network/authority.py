"""A private authority, as a company or a virus scanner has one, made again for each test."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Authority:
    """An authority whose certificate lies in a file."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def path(self) -> Path:
        """The PEM file of the authority's certificate."""
        return self.folder / "authority.pem"

    def build_server_context(self, *names: str, is_expired: bool = False) -> ssl.SSLContext:
        """Return the context of a server that proves to be these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        end = now - dt.timedelta(hours=1) if is_expired else now + dt.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder(
                self.certificate.subject, _build_name(names[0]), key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(now - dt.timedelta(days=2))
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        path = self.folder / f"{names[0]}.pem"
        private = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _build_name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def build_authority(folder: Path) -> Authority:
    """Make an authority."""
    folder.mkdir(exist_ok=True)
    key, name, now = ec.generate_private_key(ec.SECP256R1()), _build_name("Company"), dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(folder, certificate, key)
    authority.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return authority

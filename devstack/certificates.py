"""A certificate authority of one stack's own, and the certificates that it signs."""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from devstack.errors import DevstackError
from devstack.secret_files import write_secret

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ModuleNotFoundError as missing:
    raise DevstackError(
        f'A secure stack makes certificates, and {missing.name} is not installed: install "feedback-stream[devstack]".'
    ) from None

AUTHORITY_VALIDITY: Final = timedelta(days=3650)
VALIDITY: Final = timedelta(days=90)
"""How long a certificate is good for; `Authority.keep` makes it anew once `RENEW_BEFORE` is left of that."""
RENEW_BEFORE: Final = timedelta(days=30)

# Clocks differ; what was signed a moment ago must be valid everywhere.
_BACKDATED: Final = timedelta(minutes=5)
_AUTHORITY_NAME: Final = "devstack certificate authority"


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key, both as PEM files; the key is for its owner alone."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, and keeps them with its own in one folder that only its owner enters.

    Whoever logs in with a certificate is who its common name says: the authority's key makes anybody out of anybody.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own = self._files("ca")

    @property
    def certificate(self) -> Path:
        """The authority's own certificate: what clients and servers trust."""
        return self._own.certificate

    def identity(self, name: str) -> Identity:
        """Where the files of ``name`` are, whether they were made yet or not."""
        return self._files(name)

    def create(self) -> None:
        """Make the folder and the authority's own certificate, unless they are there."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if self._own.certificate.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(_AUTHORITY_NAME)
        now = datetime.now(UTC)
        builder = (
            _builder(subject, subject, key.public_key(), now - _BACKDATED, now + AUTHORITY_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        _write(self._own, key, builder.sign(key, hashes.SHA256()))

    def keep(self, name: str, *, hosts: Sequence[str] = ()) -> Identity:
        """Make the certificate of ``name``, or make it anew when it is about to expire."""
        files = self._files(name)
        with suppress(FileNotFoundError):
            known = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            if files.key.exists() and known.not_valid_after_utc - datetime.now(UTC) > RENEW_BEFORE:
                return files
        now = datetime.now(UTC)
        return self.issue(name, hosts=hosts, not_before=now - _BACKDATED, not_after=now + VALIDITY)

    def issue(self, name: str, *, hosts: Sequence[str], not_before: datetime, not_after: datetime) -> Identity:
        """Sign a certificate for the common name ``name``, in place of an earlier one.

        Args:
            name: Common name, and the name of the files.
            hosts: Addresses and host names of a server, which may also be a client of its peers; none for a client,
                whose certificate no client takes for a server's.
            not_before: When it begins to be valid.
            not_after: When it ends.
        """
        authority = x509.load_pem_x509_certificate(self._own.certificate.read_bytes())
        signing_key = serialization.load_pem_private_key(self._own.key.read_bytes(), password=None)
        if not isinstance(signing_key, ec.EllipticCurvePrivateKey):
            raise DevstackError(f"{self._own.key} is not the key of this stack's authority; remove the stack.")
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(_subject(name), authority.subject, key.public_key(), not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), False)
        files = self._files(name)
        _write(files, key, builder.sign(signing_key, hashes.SHA256()))
        return files

    def _files(self, name: str) -> Identity:
        return Identity(self._directory / f"{name}.pem", self._directory / f"{name}.key")


def _write(files: Identity, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(files.key, private.decode("ascii"))
    # Last: a certificate stands only where its key does.
    write_secret(files.certificate, certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

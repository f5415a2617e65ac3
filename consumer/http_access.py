"""Who may read metrics: a name and a password, and a certificate that the port shows."""

import base64
import binascii
import hashlib
import hmac
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from consumer.errors import FatalError


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """What the HTTP port asks for, and how it speaks.

    Attributes:
        credentials: sha256 of `NAME:PASSWORD`; everybody may read when None.
        tls: the port speaks TLS with it, plain HTTP when None.
    """

    credentials: bytes | None = None
    tls: ssl.SSLContext | None = None

    def admits(self, authorization: str | None) -> bool:
        """Whether the value of an `Authorization` field is right; the time it takes tells nothing of the password."""
        if self.credentials is None:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self.credentials)


def open_access(
    *, username: str | None, password: str | None, certificate_file: Path | None, key_file: Path | None
) -> HttpAccess:
    """From the settings; see `HttpAccess`.

    Raises:
        FatalError: certificate and key cannot be used.
    """
    credentials = None
    if username is not None and password is not None:
        credentials = hashlib.sha256(f"{username}:{password}".encode()).digest()
    return HttpAccess(credentials, None if certificate_file is None else _tls(certificate_file, key_file))


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(certificate_file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_password() -> str:
        # Without it OpenSSL would ask on the terminal.
        raise ValueError("it is encrypted")

    try:
        context.load_cert_chain(certificate_file, key_file, password=no_password)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or error
        raise FatalError(
            f"CONSUMER_HTTP_CERTIFICATE_FILE and CONSUMER_HTTP_KEY_FILE cannot be used: {reason}; give the certificate "
            "chain and its unencrypted private key, both PEM"
        ) from None
    return context

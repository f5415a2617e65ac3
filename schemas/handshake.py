"""Why a broker and this client do not come to terms: what librdkafka says of a failed handshake is little, or nothing.

One connection of our own with Python's TLS tells an expired certificate from a wrong name and from an unknown CA.
"""

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.connection import LibrdkafkaConfig

_CONNECT_S: Final = 2.0
# TLS 1.3: the server judges the client's certificate after the client takes the handshake for done.
_JUDGEMENT_S: Final = 1.0
_DEFAULT_PORT: Final = 9092
_CORRELATION_ID: Final = 7
# In the names that OpenSSL gives to what the other side refused.
_ALERT: Final = "ALERT_"
# OpenSSL, x509_vfy.h: X509_V_ERR_*.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_NAME: Final = frozenset({62, 64})


def why_refused(connection: LibrdkafkaConfig) -> str | None:
    """What stands between this client and the first broker that can be connected to, and what to do about it.

    Returns:
        None where no broker can be connected to, or TLS is not what is wrong: only what is certain is told. It holds
        no secret.
    """
    for address in str(connection["bootstrap.servers"]).split(","):
        host, port = _split(address.strip())
        try:
            with socket.create_connection((host, port), _CONNECT_S) as raw:
                if str(connection["security.protocol"]).endswith("SSL"):
                    return _why_tls_fails(raw, host, port, connection)
                return _why_plain_text_fails(raw)
        except OSError:
            continue
    return None


def _why_tls_fails(raw: socket.socket, host: str, port: int, connection: LibrdkafkaConfig) -> str | None:
    reason: str | None = None
    try:
        with _context(connection).wrap_socket(raw, server_hostname=host) as connected:
            connected.settimeout(_JUDGEMENT_S)
            connected.recv(1)
    except ssl.SSLCertVerificationError as refused:
        reason = _what_is_wrong_with_theirs(refused, host)
    except ssl.SSLError as failure:
        reason = _what_is_wrong_with_ours(connection, str(failure.reason))
    except (OSError, ValueError):
        # It ended or timed out; or a file of ours is no certificate, which librdkafka tells by its name.
        pass
    if reason is None and _speaks_without_tls(host, port):
        reason = "this port does not speak TLS: correct KAFKA_SECURITY_PROTOCOL, or take the port of another listener"
    return reason


def _why_plain_text_fails(raw: socket.socket) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(raw).close()
    except ssl.SSLError as failure:
        # Only who speaks TLS sends an alert.
        if _ALERT not in str(failure.reason):
            return None
    except OSError:
        return None
    return "this port speaks TLS: set KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL, as the broker's listener wants it"


def _speaks_without_tls(host: str, port: int) -> bool:
    """Whether the port answers the first request of every Kafka client (ApiVersions, version 0) in plain text."""
    request = struct.pack(">hhih", 18, 0, _CORRELATION_ID, -1)
    try:
        with socket.create_connection((host, port), _CONNECT_S) as plain:
            plain.sendall(struct.pack(">i", len(request)) + request)
            answer = plain.recv(8, socket.MSG_WAITALL)
    except OSError:
        return False
    return answer[4:] == struct.pack(">i", _CORRELATION_ID)


def _what_is_wrong_with_theirs(refused: ssl.SSLCertVerificationError, host: str) -> str:
    if refused.verify_code == _EXPIRED:
        return "the broker's certificate has expired: whoever runs the broker must renew it"
    if refused.verify_code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet: is the clock of this machine right?"
    if refused.verify_code in _WRONG_NAME:
        return (
            f"the broker's certificate is not for {host}: let KAFKA_BOOTSTRAP_SERVERS and the broker's "
            "advertised.listeners use a name that it holds"
        )
    return (
        f"the broker's certificate is not trusted ({refused.verify_message}): KAFKA_SSL_CA_LOCATION must name the "
        "certificate of its CA"
    )


def _what_is_wrong_with_ours(connection: LibrdkafkaConfig, failure: str) -> str | None:
    _, is_alert, alert = failure.partition(_ALERT)
    if not is_alert or ("CERTIFICATE" not in alert and alert != "UNKNOWN_CA"):
        return None
    if "ssl.certificate.location" not in connection:
        return (
            "the broker asks for a client certificate: set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION, "
            "or take the port of another listener"
        )
    if _verify_code_of_ours(connection) == _EXPIRED:
        return "this client's certificate (KAFKA_SSL_CERTIFICATE_LOCATION) has expired: renew it"
    return (
        f"the broker refuses this client's certificate ({alert.lower().replace('_', ' ')}): that of "
        "KAFKA_SSL_CERTIFICATE_LOCATION must be signed by a CA that the broker trusts"
    )


def _verify_code_of_ours(connection: LibrdkafkaConfig) -> int:
    """What a server that trusts our CA says of our certificate; 0 if it takes it. No network is needed to ask."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_own(server, connection)
    if "ssl.ca.location" in connection:
        server.load_verify_locations(cafile=str(connection["ssl.ca.location"]))
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    _load_own(client, connection)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in _steps(ends):
            pass
    except ssl.SSLCertVerificationError as refused:
        return refused.verify_code
    except ssl.SSLError:
        return 0
    return 0


def _steps(ends: tuple[ssl.SSLObject, ssl.SSLObject]) -> Iterator[None]:
    """Take both ends of a handshake in memory through it, in turns; a handshake takes two."""
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
        yield


def _context(connection: LibrdkafkaConfig) -> ssl.SSLContext:
    # Not Python's default context, which is stricter than librdkafka.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    location = connection.get("ssl.ca.location")
    if location is None:
        context.load_default_certs()
    elif Path(str(location)).is_dir():
        context.load_verify_locations(capath=str(location))
    else:
        context.load_verify_locations(cafile=str(location))
    context.check_hostname = connection.get("ssl.endpoint.identification.algorithm") != "none"
    _load_own(context, connection)
    return context


def _load_own(context: ssl.SSLContext, connection: LibrdkafkaConfig) -> None:
    if "ssl.certificate.location" in connection:
        context.load_cert_chain(
            str(connection["ssl.certificate.location"]),
            str(connection["ssl.key.location"]),
            # Without one, OpenSSL would ask at the terminal.
            str(connection.get("ssl.key.password", "")),
        )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return address.rpartition("://")[2], _DEFAULT_PORT
    return host.strip("[]"), int(port)

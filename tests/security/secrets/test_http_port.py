"""The port of metrics and health: who may read, over what, and that nobody holds it up."""

import base64
import gc
import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry, Counter

from consumer import http_server
from consumer.errors import FatalError
from consumer.health import Health
from consumer.http_access import HttpAccess, is_loopback, open_access
from consumer.http_server import HttpServer

_USER, _PASSWORD = "prometheus", "pass:wörd"
_IDLE = 200
Serve = Callable[..., HttpServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as cleanup:

        def start(access: HttpAccess | None = None) -> HttpServer:
            registry = CollectorRegistry()
            Counter("sheep", "counted", registry=registry).inc()
            server = HttpServer(
                "127.0.0.1",
                0,
                health=Health(),
                registry=registry,
                info=lambda: {"version": "1"},
                access=access or HttpAccess(),
            )
            cleanup.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "consumer")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "tls.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    for file, encryption in (
        ("tls.key", serialization.NoEncryption()),
        ("encrypted.key", serialization.BestAvailableEncryption(b"canary")),
    ):
        (folder / file).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
    return folder / "tls.crt", folder / "tls.key"


def ask(server: HttpServer, path: str, *, authorization: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}")
    if authorization is not None:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (http, here)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def with_password() -> HttpAccess:
    return open_access(username=_USER, password=_PASSWORD, certificate_file=None, key_file=None)


def say(server: HttpServer, words: bytes) -> bytes:
    """What it answers to these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(words)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
        return answer


def test_metrics_and_info_ask_for_the_password_and_health_does_not(serve: Serve) -> None:
    server = serve(with_password())
    for path in ("/metrics", "/info", "/metrics?name[]=sheep_total"):
        assert ask(server, path)[0] == 401
        assert ask(server, path, authorization=basic(_USER, _PASSWORD))[0] == 200
    for path in ("/health/live", "/health/ready"):
        assert ask(server, path)[0] in {200, 503}
    wrong = (
        basic(_USER, "wrong"),
        basic("other", _PASSWORD),
        basic(_USER, _PASSWORD + "x"),
        basic(_USER, ""),
        basic("", ""),
        "Basic",
        "Basic !!!",
        "Basic " + "A" * 10_000,
        "Bearer " + base64.b64encode(b"x").decode(),
        "Basic \xff",
    )
    assert {ask(server, "/metrics", authorization=each)[0] for each in wrong} == {401}
    assert "sheep" not in ask(server, "/metrics", authorization=basic(_USER, "wrong"))[1]
    for path in ("//metrics", "/metrics/", "/METRICS", "/./metrics", "/health/../metrics", "/%6detrics", "/x/../info"):
        assert ask(server, path)[0] in {401, 404}


def test_without_settings_it_answers_as_before(serve: Serve) -> None:
    server = serve()
    assert "sheep_total 1.0" in ask(server, "/metrics")[1]
    assert ask(server, "/info") == (200, '{"version": "1"}\n')
    assert ask(server, "/nothing")[0] == 404


def test_tls_is_spoken_from_version_1_2(serve: Serve, certificate: tuple[Path, Path]) -> None:
    server = serve(
        open_access(username=_USER, password=_PASSWORD, certificate_file=certificate[0], key_file=certificate[1])
    )
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=10)
    connection.request("GET", "/metrics", headers={"Authorization": basic(_USER, _PASSWORD)})
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"sheep_total 1.0" in answer.read()
    connection.close()

    assert not say(server, b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP")  # plain HTTP gets nothing
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certificate[0])
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", server.port)) as plain, pytest.raises(OSError):  # noqa: PT011
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_certificate_that_cannot_be_used_is_said_in_one_line(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "other").write_text("canary")
    for file, key in (
        (tmp_path / "none", certificate[1]),
        (tmp_path / "other", certificate[1]),
        (certificate[0], tmp_path / "other"),
        (certificate[0], certificate[0].parent / "encrypted.key"),
    ):
        with pytest.raises(FatalError, match="CONSUMER_HTTP_CERTIFICATE_FILE and CONSUMER_HTTP_KEY_FILE") as refused:
            open_access(username=None, password=None, certificate_file=file, key_file=key)
        assert "canary" not in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_two_hundred_who_say_nothing_hold_nobody_up(serve: Serve, certificate: tuple[Path, Path], tls: bool) -> None:
    access = open_access(
        username=None,
        password=None,
        certificate_file=certificate[0] if tls else None,
        key_file=certificate[1] if tls else None,
    )
    server = serve(access)
    threads = threading.active_count()
    with ExitStack() as cleanup:
        for number in range(_IDLE):
            client = cleanup.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            if number % 2:
                client.sendall(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        started_s = time.monotonic()
        context = ssl.create_default_context(cafile=str(certificate[0])) if tls else None
        scheme = "https" if tls else "http"
        url = f"{scheme}://127.0.0.1:{server.port}/health/live"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310 (http, here)
            assert answer.status == 200
        assert time.monotonic() - started_s < 5
        assert threading.active_count() <= threads
        assert len(server._connections) <= http_server._MAX_CONNECTIONS


def test_who_drips_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_REQUEST_S", 0.5)
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        started_s = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - started_s < 8:
                client.sendall(b"X")
                time.sleep(0.05)
        assert time.monotonic() - started_s < 8


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 2_000 + b"\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n", b"405"),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"\xff\xfe\x00\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"GET /nothing%0d%0aX:y HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_what_is_no_small_request_is_refused(serve: Serve, words: bytes, status: bytes) -> None:
    server = serve()
    try:
        answer = say(server, words)
    except ConnectionError:  # it was told, and went on sending
        answer = b""
    assert not answer or answer.split()[1] == status
    assert b"sheep" not in answer
    assert ask(server, "/health/live")[0] == 200


def test_a_head_asks_for_no_body(serve: Serve) -> None:
    answer = say(serve(), b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n")


def test_a_port_that_is_taken_is_said(serve: Serve) -> None:
    server = serve()
    with pytest.raises(FatalError, match=f"127.0.0.1:{server.port}: .*CONSUMER_HTTP_PORT"):
        HttpServer("127.0.0.1", server.port, health=Health(), registry=CollectorRegistry(), info=dict)


def test_what_this_machine_alone_reaches() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "consumer", "")] == [False] * 5  # noqa: S104


def test_closing_lets_go_of_every_socket() -> None:
    """Also of those that are being accepted; a socket that is left behind is a warning, and warnings are errors."""
    for number in range(20):
        server = HttpServer("127.0.0.1", 0, health=Health(), registry=CollectorRegistry(), info=dict)
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5 + 5 * number)]
        server.close()
        for client in clients:
            client.close()
        del server
        gc.collect()

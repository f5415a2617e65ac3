"""/metrics, /health/live, /health/ready and /info, on a thread of their own that nobody can hold up.

Connections are answered by one event loop: an idle one costs a socket, not a thread. Each has a few seconds to ask and
to take its answer, asks once, and when there are too many the one that has waited longest goes.
"""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from consumer.errors import FatalError
from consumer.health import Health
from consumer.http_access import HttpAccess

log = structlog.get_logger(__name__)

_MAX_HEAD_BYTES: Final = 16_384
_MAX_CONNECTIONS: Final = 64
# A probe waits a second or so; nobody needs longer to ask, or to take some ten kilobytes.
_REQUEST_S: Final = 5.0
_ANSWER_S: Final = 10.0
_STOP_WAIT_S: Final = 5.0
_LAST_TURNS: Final = 4
_PROTECTED: Final = frozenset({"/metrics", "/info"})

Answer = tuple[HTTPStatus, Mapping[str, str], bytes]


class HttpServer:
    """Serves until `close`. Port 0 takes a free one; `port` says which."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        health: Health,
        registry: CollectorRegistry,
        info: Callable[[], Mapping[str, Any]],
        access: HttpAccess = HttpAccess(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._health = health
        self._metrics = make_wsgi_app(registry)
        self._info = info
        self._access = access
        # In the order of their arrival.
        self._connections: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(
                asyncio.start_server(self._accept, host, port, limit=_MAX_HEAD_BYTES)
            )
        except OSError as error:
            self._loop.close()
            raise FatalError(f"cannot listen on {host}:{port}: {error.strerror}; set CONSUMER_HTTP_PORT") from error
        self._port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_WAIT_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        # One that is being accepted becomes a connection a turn of the loop later, and lets go of its socket another
        # two after its end.
        this = asyncio.current_task()
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
            for connection in list(self._connections):
                connection.cancel()
        others = asyncio.all_tasks() - {this}
        if others:
            await asyncio.wait(others, timeout=_STOP_WAIT_S / 2)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        if this is None:
            return
        self._connections[this] = None
        if len(self._connections) > _MAX_CONNECTIONS:
            longest = next(iter(self._connections))
            del self._connections[longest]
            longest.cancel()
        try:
            if self._access.tls is not None:
                # Here rather than by the server, so that whoever never finishes a handshake is counted too.
                await writer.start_tls(self._access.tls, ssl_handshake_timeout=_REQUEST_S)
            await self._converse(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        except Exception as error:  # noqa: BLE001 (whatever a request holds: the next one is answered)
            log.warning("http_request_failed", error=type(error).__name__)
            writer.transport.abort()
        finally:
            self._connections.pop(this, None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, path, headers = _parse(head)
            status, fields, body = self._answer(method, path, headers)
        except asyncio.LimitOverrunError:
            status, fields, body = _json(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {})
        except (ValueError, HTTPException):
            status, fields, body = _json(HTTPStatus.BAD_REQUEST, {})
        fields = {**fields, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method != "HEAD":
            writer.write(body)
        async with asyncio.timeout(_ANSWER_S):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    def _answer(self, method: str, path: str, headers: Message) -> Answer:
        if method not in {"GET", "HEAD"}:
            status, fields, body = _json(HTTPStatus.METHOD_NOT_ALLOWED, {})
            return status, {**fields, "Allow": "GET, HEAD"}, body
        # Probes of orchestrators carry no password; health tells nothing that is worth one.
        if path in _PROTECTED and not self._access.admits(headers.get("Authorization")):
            status, fields, body = _json(HTTPStatus.UNAUTHORIZED, {})
            return status, {**fields, "WWW-Authenticate": 'Basic realm="feedback-consumer", charset="UTF-8"'}, body
        answers: dict[str, Callable[[], Answer]] = {
            "/metrics": lambda: self._render_metrics(headers),
            "/health/live": lambda: _of_health(self._health.why_not_live()),
            "/health/ready": lambda: _of_health(self._health.why_not_live() or self._health.why_not_ready()),
            "/info": lambda: _json(HTTPStatus.OK, self._info()),
        }
        return answers[path]() if path in answers else _json(HTTPStatus.NOT_FOUND, {"paths": list(answers)})

    def _render_metrics(self, headers: Message) -> Answer:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "QUERY_STRING": "",
            "HTTP_ACCEPT": headers.get("Accept", ""),
            "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
        }
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._metrics(environ, lambda status, fields, _=None: started.append((status, fields))))
        status, fields = started[0]
        return HTTPStatus(int(status.split()[0])), dict(fields), body


def _parse(head: bytes) -> tuple[str, str, Message]:
    """The method, the path without a query, and the fields of a request.

    Raises:
        ValueError, HTTPException: it is no HTTP/1.x request.
    """
    line, _, rest = head.partition(b"\r\n")
    method, target, version = line.decode("latin-1").split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    return method, target.partition("?")[0], parse_headers(io.BytesIO(rest))


def _of_health(reason: str | None) -> Answer:
    if reason is None:
        return _json(HTTPStatus.OK, {"status": "ok"})
    return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "unavailable", "reason": reason})


def _json(status: HTTPStatus, document: Mapping[str, Any]) -> Answer:
    body = json.dumps(document or {"error": status.phrase}, default=str).encode() + b"\n"
    return status, {"Content-Type": "application/json"}, body

"""/metrics, /health/live, /health/ready and /info, on a thread of their own."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from consumer.errors import FatalError
from consumer.health import Health


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 (the base class names it)
        """Probes arrive every few seconds; their access log helps nobody."""


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
    ) -> None:
        metrics: WSGIApplication = make_wsgi_app(registry)

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "/")
            if path == "/metrics":
                return metrics(environ, start_response)
            if path == "/health/live":
                return _health(start_response, health.why_not_live())
            if path == "/health/ready":
                return _health(start_response, health.why_not_live() or health.why_not_ready())
            if path == "/info":
                return _json(start_response, "200 OK", info())
            return _json(
                start_response, "404 Not Found", {"paths": ["/metrics", "/health/live", "/health/ready", "/info"]}
            )

        try:
            self._server = make_server(host, port, application, server_class=_Server, handler_class=_SilentHandler)
        except OSError as error:
            raise FatalError(f"cannot listen on {host}:{port}: {error.strerror}; set CONSUMER_HTTP_PORT") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _health(start_response: StartResponse, reason: str | None) -> list[bytes]:
    if reason is None:
        return _json(start_response, "200 OK", {"status": "ok"})
    return _json(start_response, "503 Service Unavailable", {"status": "unavailable", "reason": reason})


def _json(start_response: StartResponse, status: str, document: Mapping[str, Any]) -> list[bytes]:
    body = json.dumps(document, default=str).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

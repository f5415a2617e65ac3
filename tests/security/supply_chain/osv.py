"""A service of advisories on this machine, with the interface of OSV that pip-audit asks."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Advisories = Mapping[str, Sequence[Mapping[str, Any]]]
"""By the package's canonical name: advisories in OSV's format."""


@contextmanager
def osv_service(advisories: Advisories) -> Iterator[str]:
    """Serve advisories; gives the URL to query."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = advisories.get(canonicalize_name(asked["package"]["name"]), ())
            found = [entry for entry in known if _affects(entry, asked["package"]["name"], asked["version"])]
            content = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()


def _affects(advisory: Mapping[str, Any], name: str, version: str) -> bool:
    for affected in advisory["affected"]:
        if canonicalize_name(affected["package"]["name"]) != canonicalize_name(name):
            continue
        if version in affected.get("versions", ()):
            return True
        ranges = [entry for entry in affected.get("ranges", ()) if entry["type"] == "ECOSYSTEM"]
        if any(_is_inside(entry["events"], Version(version)) for entry in ranges):
            return True
    return False


def _is_inside(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    inside = False
    for event in events:
        try:
            if "introduced" in event and (event["introduced"] == "0" or Version(event["introduced"]) <= version):
                inside = True
            elif "fixed" in event and Version(event["fixed"]) <= version:
                inside = False
        except InvalidVersion:
            continue
    return inside

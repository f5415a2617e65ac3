"""Where a bundle may come from, attacked: by the words of a URL, and by what the place at its other end does."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from consumer.inference import limits
from consumer.inference.bundle import load_bundle
from consumer.inference.fetch import BundleUnavailableError
from consumer.inference.manifest import MANIFEST_FILE, MODEL_FILE, BundleError
from consumer.inference.places import require_allowed, shown
from tests.inference.test_bundle import change_manifest, replace

_GOOD = "https://good.example/models"
_ATTACKS = (
    "https://good.example.evil.test/models/live",
    "https://good.example@evil.test/models/live",
    "https://good.example:443@evil.test/models/live",
    "https://good.example%2fmodels@evil.test/models",
    "https://evil.test/https://good.example/models",
    "https://evil.test#https://good.example/models",
    "https://evil.test?https://good.example/models",
    "https://evil.test\\@good.example/models",
    "https://good.example/models-of-others/live",
    "https://good.example/models/../others",
    "https://good.example/models/%2e%2e/others",
    "https://good.example/models/%252e%252e/others",
    "https://good.example/models/%2E%2E%2Fothers",
    "https://good.example/models/..%5cothers",
    "https://good.example/models/..\\others",
    "https://good.example/models/a\\..\\..\\others",
    "https://good.example/models/live?next=https://evil.test",
    "https://good.example/models/live#/../../others",
    "https://good.example/models/live\r\nHost: evil.test",
    "https://good.example/models/li\0ve",
    "https://good.example/models /live",
    "https://good.example/models/live::file:///etc",
    "zip://x::https://good.example/models/live",
    "http://good.example/models/live",
    "https://good.example:8443/models/live",
    "https://g\u043e\u043ed.example/models/live",
    "https://good\u3002example/models/live",
    "https://good.example./models/live",
    "https://2130706433/models/live",
    "https://[::1]/models/live",
    "https://0x7f.1/models/live",
    "https:///good.example/models/live",
    "https:/good.example/models/live",
    "https:good.example/models/live",
    "//good.example/models/live",
    "file:///etc",
    "FILE:///etc",
    "file://good.example/models",
    "local:///etc",
    "file:/etc",
    "/etc",
    "../../../../../../etc",
    "~/models",
    "~nobody-of-that-name/models",
    "/\0",
    "data:application/json,{}",
    "https://good.example/models/" + "a" * 10_000,
    "",
)


@pytest.mark.parametrize("url", _ATTACKS)
def test_no_other_way_of_writing_it_leads_out(url: str) -> None:
    with pytest.raises(BundleError) as refused:
        require_allowed(url, [_GOOD])
    assert len(str(refused.value)) < 1_000
    assert str(refused.value).isprintable()
    with pytest.raises(BundleError):
        load_bundle(url, allowed_prefixes=[_GOOD], manifest_sha256="0" * 64)


@pytest.mark.parametrize("url", [f"{_GOOD}/live", f"{_GOOD}/a@b", "HTTPS://GOOD.EXAMPLE/models/live", f"{_GOOD}/"])
def test_what_lies_inside_passes(url: str) -> None:
    require_allowed(url, [_GOOD])


def test_links_and_spellings_of_local_places_lead_nowhere_else(tmp_path: Path) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside):
        folder.mkdir()
    (allowed / "link").symlink_to(outside)
    for url in (f"{allowed}/link", f"file://{allowed}/link", f"FILE://{allowed}/link", f"{allowed}/../outside"):
        with pytest.raises(BundleError, match="outside the allowed places"):
            require_allowed(url, [str(allowed)])
    require_allowed(f"{allowed}/link/../inside", [str(tmp_path)])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:canary@host/models", "https://host/models"),
        ("https://user:can@ary@host/models", "https://host/models"),
        ("https://user:can/ary@host/models", "https://host/models"),
        ("https://user:can?ary@host/models", "https://..."),
        ("https://host/models?signature=canary", "https://host/models"),
        ("https://host/models?signature=can@ary", "https://..."),
        ("https://host/models?signature=canary&to=me@evil.test", "https://..."),
        ("https://host/models#canary", "https://host/models"),
        ("https:user:canary@host", "https://host"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("/srv/models", "/srv/models"),
    ],
)
def test_a_place_is_shown_without_its_secrets(url: str, words: str) -> None:
    assert shown(url) == words


@dataclass
class Place:
    """A web server that gives a folder's files, or does something else with those of a name."""

    folder: Path
    url: str = ""
    acts: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def place(folder: Path) -> Iterator[Place]:
    made = Place(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            name = self.path.rpartition("/")[2]
            if name in made.acts:
                made.acts[name](self)
                return
            content = (made.folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/models"
    yield made
    made.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def pin(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def fetch(place: Place, cache: Path) -> Any:
    return load_bundle(place.url, allowed_prefixes=[place.url], cache_dir=cache, manifest_sha256=pin(place.folder))


def left_in(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_good_place_gives_the_bundle(place: Place, tmp_path: Path) -> None:
    found = fetch(place, tmp_path / "cache")
    assert found.manifest.name == "tiny"
    assert found.folder.stat().st_mode & 0o077 == 0


def test_a_redirection_is_not_followed(place: Place, tmp_path: Path) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{place.url}/elsewhere/{MANIFEST_FILE}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    place.acts[MANIFEST_FILE] = redirect
    with pytest.raises(BundleError, match=r"manifest\.json: it leads elsewhere"):
        fetch(place, tmp_path / "cache")
    assert place.asked == [f"/models/{MANIFEST_FILE}"]


@pytest.mark.parametrize("says", [True, False], ids=["says so", "sends without a length"])
def test_more_than_a_bundle_has_is_not_taken(place: Place, tmp_path: Path, says: bool) -> None:
    sent = 0

    def flood(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        if says:
            handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            while not place.over.is_set() and sent < 10**9:
                sent += handler.wfile.write(b" " * 2**16)
        except OSError:
            handler.close_connection = True

    place.acts[MANIFEST_FILE] = flood
    with pytest.raises(BundleError, match=r"manifest\.json: more than the 1,048,576 bytes") as refused:
        fetch(place, tmp_path / "cache")
    assert not isinstance(refused.value, BundleUnavailableError)
    assert sent < 50 * 2**20
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("drips", [True, False], ids=["drips", "says nothing"])
def test_a_place_that_never_ends_is_given_up(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drips: bool
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_S", 2.0)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            while not place.over.wait(0.1):
                if drips:
                    handler.wfile.write(b"x")
                    handler.wfile.flush()
        except OSError:
            handler.close_connection = True

    place.acts[MODEL_FILE] = drip
    started_s = time.monotonic()
    with pytest.raises(BundleUnavailableError, match=r"model\.onnx: "):
        fetch(place, tmp_path / "cache")
    assert time.monotonic() - started_s < 20
    assert left_in(tmp_path / "cache") == []


def test_other_bytes_than_those_announced_are_not_loaded(place: Place, tmp_path: Path) -> None:
    wanted = pin(place.folder)
    replace(place.folder, MODEL_FILE, (place.folder / MODEL_FILE).read_bytes() + b"")
    change_manifest(place.folder, lambda manifest: manifest.update(source_checkpoint="another"))
    with pytest.raises(BundleError, match="was announced"):
        load_bundle(place.url, cache_dir=tmp_path / "cache", manifest_sha256=wanted)
    (place.folder / MODEL_FILE).write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"model\.onnx: its sha256 is"):
        fetch(place, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


def test_a_manifest_cannot_put_files_elsewhere(place: Place, tmp_path: Path) -> None:
    manifest = (place.folder / MANIFEST_FILE).read_text()
    (place.folder / MANIFEST_FILE).write_text(manifest.replace('"model.onnx"', '"../../owned"'))
    with pytest.raises(BundleError, match="files"):
        fetch(place, tmp_path / "cache")
    assert list(tmp_path.rglob("owned")) == []
    assert place.asked == [f"/models/{MANIFEST_FILE}"]

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from consumer.inference.bundle import default_bundle, load_bundle
from consumer.inference.manifest import MODEL_FILE, BundleError
from consumer.inference.places import require_allowed
from tests.inference.tiny_bundle import build_tiny_bundle

URL = "memory://models/live"


def publish(folder: Path) -> None:
    """Put a bundle at URL, in place of what is there."""
    files = MemoryFileSystem()
    if files.exists("/models/live"):
        files.rm("/models/live", recursive=True)
    files.put(str(folder), "/models/live", recursive=True)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cache"
    MemoryFileSystem().store.clear()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("https://user:canary@host is away")

    monkeypatch.setattr(MemoryFileSystem, "get_file", refuse)
    return monkeypatch


def copies(cache: Path) -> list[Path]:
    return [folder for url in cache.iterdir() for folder in url.iterdir()]


def test_a_file_url_and_a_path_are_used_in_place(folder: Path) -> None:
    assert load_bundle(f"file://{folder}").folder == load_bundle(folder).folder == folder


def test_a_remote_bundle_is_copied_once(folder: Path, cache: Path) -> None:
    publish(folder)
    first = load_bundle(URL, cache_dir=cache)
    assert first.folder.is_relative_to(cache)
    assert first.manifest.name == "tiny"

    MemoryFileSystem().rm("/models/live/model.onnx")  # it is not asked for a second time
    assert load_bundle(URL, cache_dir=cache).folder == first.folder


def test_the_last_good_copy_serves_while_the_remote_place_is_away(
    folder: Path, cache: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    for version in "121":  # the last step goes back to the first
        publish(build_tiny_bundle(folder, version=version))
        last = load_bundle(URL, cache_dir=cache)

    request.getfixturevalue("unreachable")
    with caplog.at_level(logging.WARNING):
        served = load_bundle(URL, cache_dir=cache)

    assert served.folder == last.folder
    assert served.manifest.version == "1"
    assert "ConnectionError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.usefixtures("unreachable")
def test_without_a_copy_an_unreachable_place_is_an_error_that_names_the_file(cache: Path) -> None:
    with pytest.raises(
        BundleError, match=r"memory://models/live/manifest\.json: cannot be fetched \(ConnectionError\)"
    ):
        load_bundle(URL, cache_dir=cache)


def test_a_broken_remote_bundle_is_refused_and_never_enters_the_cache(folder: Path, cache: Path) -> None:
    publish(folder)
    good = load_bundle(URL, cache_dir=cache)
    build_tiny_bundle(folder, version="2")
    (folder / MODEL_FILE).write_bytes(b"half an upload")
    publish(folder)

    with pytest.raises(BundleError, match=r"memory://models/live/model\.onnx: its sha256"):
        load_bundle(URL, cache_dir=cache)
    assert copies(cache) == [good.folder]


def test_a_damaged_copy_is_fetched_again(folder: Path, cache: Path) -> None:
    publish(folder)
    copy = load_bundle(URL, cache_dir=cache).folder
    (copy / MODEL_FILE).write_bytes(b"bit rot")

    assert (load_bundle(URL, cache_dir=cache).folder / MODEL_FILE).read_bytes() == (folder / MODEL_FILE).read_bytes()


def test_old_copies_are_removed(folder: Path, cache: Path) -> None:
    for version in "1234":
        publish(build_tiny_bundle(folder, version=version))
        live = load_bundle(URL, cache_dir=cache).folder
    assert len(copies(cache)) == 2
    assert live in copies(cache)


def test_a_missing_library_and_an_unknown_scheme_say_what_to_do(cache: Path) -> None:
    fsspec.register_implementation(
        "feedbacktest", "not_installed_library.FileSystem", errtxt="install it", clobber=True
    )
    with pytest.raises(BundleError, match="install the extra s3"):
        load_bundle("feedbacktest://models/live", cache_dir=cache)
    with pytest.raises(BundleError, match="use a path, file:// or s3://"):
        load_bundle("nonsense://models/live", cache_dir=cache)


def test_a_cache_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    publish(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cache folder that is writable"):
        load_bundle(URL, cache_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("s3://models/live", True),
        ("s3://models", True),
        ("s3://models-of-others/live", False),
        ("s3://models/../others", False),
        ("s3://models/%2e%2e/others", False),
        ("gs://models/live", False),
        ("{root}/good/tiny", True),
        ("file://{root}/good/tiny", True),
        ("{root}/good/../bad", False),
        ("file://{root}/good-looking", False),
        ("{root}/good/link", False),
    ],
)
def test_only_places_inside_the_allowed_prefixes_pass(tmp_path: Path, url: str, allowed: bool) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "link").symlink_to(tmp_path / "bad")
    place = url.format(root=tmp_path)
    prefixes = ["s3://models/", str(tmp_path / "good")]

    if allowed:
        require_allowed(place, prefixes)
    else:
        with pytest.raises(BundleError, match=r"outside the allowed places|'\.\.' is not allowed"):
            require_allowed(place, prefixes)


def test_the_allow_list_holds_for_loading_and_always_has_the_default_bundle(folder: Path) -> None:
    with pytest.raises(BundleError, match="outside the allowed places"):
        load_bundle(folder, allowed_prefixes=["s3://models"])
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(default_bundle() / "nowhere", allowed_prefixes=[])
    assert load_bundle(folder, allowed_prefixes=[str(folder.parent)]).folder == folder


def test_no_secret_of_a_url_is_printed() -> None:
    with pytest.raises(BundleError) as refused:
        load_bundle("https://user:canary@host/models/live?signature=canary", allowed_prefixes=["s3://models"])
    assert "canary" not in str(refused.value)
    assert "https://host/models/live" in str(refused.value)


def test_a_copy_that_another_process_brought_meanwhile_is_used(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder)
    brought = load_bundle(URL, cache_dir=cache).folder
    shutil.move(brought, folder.parent / "aside")

    def bring(path: Path) -> bool:
        shutil.move(folder.parent / "aside", path)
        return True

    monkeypatch.setattr(Path, "exists", bring)
    assert load_bundle(URL, cache_dir=cache).folder == brought
    monkeypatch.undo()
    assert copies(cache) == [brought]

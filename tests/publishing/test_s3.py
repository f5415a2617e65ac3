"""S3 for real: a server that checks signatures and rights; credentials come from the environment and stay there."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from fsspec.config import conf as fsspec_settings
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from sqlalchemy import text

from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import BundleError
from model_export.publishing.storage_errors import explain
from tests.publishing.conftest import Desk, Done

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Bundles = Callable[[str], Path]
BUCKET = "models"
_RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}*"}],
}


@dataclass(frozen=True)
class Store:
    """A running S3 server, and what a user who may write to its bucket has in the environment."""

    server: ThreadedMotoServer
    endpoint: str
    variables: dict[str, str]
    s3: Any

    @property
    def secrets(self) -> tuple[str, str]:
        return self.variables["AWS_ACCESS_KEY_ID"], self.variables["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    ask(f"{endpoint}/moto-api/reset")
    ask(f"{endpoint}/moto-api/reset-auth", b"Infinity")
    first = {"endpoint_url": endpoint, "aws_access_key_id": "root", "aws_secret_access_key": "root"}
    s3, iam = boto3.client("s3", **first), boto3.client("iam", **first)
    s3.create_bucket(Bucket=BUCKET)
    iam.create_user(UserName="publisher")
    key = iam.create_access_key(UserName="publisher")["AccessKey"]
    iam.put_user_policy(UserName="publisher", PolicyName="bundles", PolicyDocument=json.dumps(_RIGHTS))
    # From now on it checks who asks.
    ask(f"{endpoint}/moto-api/reset-auth", b"0")
    variables = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_ENDPOINT_URL_S3": endpoint,
    }
    owner = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    yield Store(server, endpoint, variables, owner)
    server.stop()
    S3FileSystem.clear_instance_cache()


def ask(url: str, body: bytes = b"") -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain"}, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status == 200


def publish(
    desk: Desk, bundle: Path, *arguments: object, place: str = f"s3://{BUCKET}/feedback", **variables: str
) -> Done:
    # Another process would know nothing of the credentials before.
    S3FileSystem.clear_instance_cache()
    return desk.run("publish", bundle, "--to", place, *arguments, **variables)


def test_published_fetched_and_kept_when_s3_is_away(
    desk: Desk, store: Store, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = publish(desk, bundles("1"), "--live", "--json", **store.variables)

    assert (done.exit_code, done.err) == (0, "")
    [record] = desk.announced()
    announcement = record.announcement
    assert announcement is not None
    assert announcement.url == f"s3://models/feedback/tiny-1-{announcement.manifest_sha256[:12]}"
    stored = [entry["Key"].rpartition("/")[2] for entry in store.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert stored == ["labels.json", "manifest.json", "model.onnx", "tokenizer.json"]

    # A consumer with the credentials fetches it, and keeps what it has when S3 goes.
    for name, value in store.variables.items():
        monkeypatch.setenv(name, value)
    cache, prefixes = tmp_path / "consumer", ["s3://models/feedback"]
    options: Any = {"allowed_prefixes": prefixes, "manifest_sha256": announcement.manifest_sha256}
    assert load_bundle(announcement.url, cache_dir=cache, **options).manifest.version == "1"
    again = publish(desk, bundles("1"), "--live", **store.variables)
    assert "it stood there already" in again.out
    store.server.stop()
    S3FileSystem.clear_instance_cache()
    assert load_bundle(announcement.url, cache_dir=cache, **options).manifest.version == "1"

    # Nothing of the login is anywhere but in the environment.
    with desk.database.connect() as connection:
        tables = [
            str(connection.execute(text(f"SELECT t::text FROM {name} AS t")).all())  # noqa: S608
            for name in ("model_versions", "model_announcements")
        ]
    seen = [done.out, done.err, again.out, announcement.model_dump_json(), *tables]
    files = [path.read_text("utf-8", "replace") for path in cache.rglob("*") if path.is_file()]
    assert not [secret for secret in store.secrets for words in [*seen, *files] if secret in words]


def test_a_rollback_reads_every_byte_in_s3(desk: Desk, store: Store, bundles: Bundles) -> None:
    desk.variables = store.variables
    for version in "12":
        assert publish(desk, bundles(version), "--live", "--force", "a test").exit_code == 0
    [key] = [
        entry["Key"]
        for entry in store.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        if "tiny-1-" in entry["Key"] and entry["Key"].endswith("model.onnx")
    ]
    content = store.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    store.s3.put_object(Bucket=BUCKET, Key=key, Body=content[:-1] + b"?")

    damaged = desk.run("rollback")
    overwritten = publish(desk, bundles("1"), "--live", "--force", "a test")
    store.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    mended = desk.run("rollback")

    assert (damaged.exit_code, overwritten.exit_code, mended.exit_code) == (1, 1, 0)
    assert f"s3://models/{key}: it is not what manifest.json says" in damaged.err
    assert f"s3://models/{key}: it is not what manifest.json says" in overwritten.err
    assert desk.versions_announced() == ["1", "2", "1"]


def test_what_is_wrong_is_said_in_one_line(
    desk: Desk, store: Store, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = store.variables
    cases: list[tuple[dict[str, str], str, str]] = [
        ({**known, "AWS_SECRET_ACCESS_KEY": "hunter2"}, BUCKET, "the storage refuses (403); check AWS_ACCESS_KEY_ID"),
        ({**known, "AWS_ACCESS_KEY_ID": "hunter2"}, BUCKET, "the storage refuses (403); check AWS_ACCESS_KEY_ID"),
        (
            {"AWS_ENDPOINT_URL_S3": store.endpoint},
            BUCKET,
            "no credentials (NoCredentialsError); check AWS_ACCESS_KEY_ID",
        ),
        (known, f"{BUCKET}-elsewhere", "there is no such bucket; make it, or correct --to"),
    ]
    for variables, bucket, words in cases:
        done = publish(desk, bundles("1"), "--live", place=f"s3://{bucket}/feedback", **variables)
        assert done.exit_code == 1, words
        assert words in done.err
        assert f"s3://{bucket}/feedback/tiny-1-" in done.err
        assert done.err.count("\n") == 1
        assert "hunter2" not in done.err
        assert store.secrets[1] not in done.err

    # The consumer's side, in its own words.
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
    with pytest.raises(BundleError, match=r"s3://models/nothing.*cannot be fetched"):
        load_bundle("s3://models/nothing", cache_dir=desk.store)
    assert desk.announced() == []


def test_the_endpoint_may_stand_in_fsspec_s_own_settings(
    desk: Desk, store: Store, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What FSSPEC_S3_ENDPOINT_URL sets when a process begins."""
    monkeypatch.setitem(fsspec_settings, "s3", {"endpoint_url": store.endpoint})
    keys = {name: value for name, value in store.variables.items() if name != "AWS_ENDPOINT_URL_S3"}

    assert publish(desk, bundles("1"), **keys).exit_code == 0
    assert store.s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 4


def test_a_server_that_is_away_is_told_without_the_library_s_words() -> None:
    away = EndpointConnectionError(endpoint_url="http://localhost:1/models?X-Amz-Signature=hunter2")

    told = explain(away, "s3://models/x")

    assert told.startswith("s3://models/x: the storage does not answer (EndpointConnectionError); check AWS_ENDPOINT")
    assert "hunter2" not in told


def test_without_the_library_it_says_what_to_install(
    desk: Desk, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    S3FileSystem.clear_instance_cache()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)

    done = desk.run("publish", bundles("1"), "--to", "s3://models/feedback")

    assert done.exit_code == 1
    assert "pip install 'feedback-stream[s3]'" in done.err
    assert done.err.count("\n") == 1

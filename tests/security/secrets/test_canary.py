"""No secret and no customer where they do not belong: the real programs run with canaries, and everything is searched.

The event's own topics and tables are meant to hold the customer; nothing is meant to hold a secret.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from consumer.settings import ConsumerSettings
from schemas.announcement import LIVE, SHADOW
from schemas.registry import SchemaRegistryConnection
from tests.integration.harness import Bench, ConsumerProcess, make_event, wait_until
from tests.models.announcing import Announcer, announcement
from tests.security.secrets.canaries import Sought, command_lines, secret

_HTTP_USER: Final = "prometheus"
_SHORT: Final = 8
# Every setting that may hold a secret, as the value that a program finds in its environment.
_IN_ENVIRONMENT: Final = {
    "KAFKA_SASL_PASSWORD": secret("sasl"),
    "KAFKA_SSL_KEY_PASSWORD": secret("sslkey"),
    "KAFKA_SCHEMA_REGISTRY_PASSWORD": secret("registry"),
    "CONSUMER_HTTP_PASSWORD": secret("http"),
    "CONSUMER_REDACT_KEY": secret("redact") * 3,
    "PGPASSWORD": secret("libpq"),
    "AWS_SECRET_ACCESS_KEY": secret("aws"),
    "AWS_SESSION_TOKEN": secret("token"),
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={quote(secret('otel'))}",
}
_DATABASE_PASSWORD: Final = secret("database")
_URL_PASSWORD: Final = secret("url")
SECRETS: Final = {
    **_IN_ENVIRONMENT,
    "OTEL_EXPORTER_OTLP_HEADERS": secret("otel"),
    "DATABASE_URL": _DATABASE_PASSWORD,
    "CONSUMER_BUNDLE_URL": _URL_PASSWORD,
}
CUSTOMER: Final = {
    "text": "Zwitscherndes Haustier entflogen",
    "id": "haustier-4711",
    "address": "vogel@haustier.example",
    "header": "haustier-header",
}


def environment(**changes: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **_IN_ENVIRONMENT, "KAFKA_SCHEMA_REGISTRY_USERNAME": "user", "AWS_ACCESS_KEY_ID": "id", **changes}


@dataclass
class Started:
    """A consumer with canaries, and how to read its protected pages."""

    running: ConsumerProcess

    def page(self, path: str, password: str | None = None) -> str:
        port = self.running.wait_for_log("http_listening")["port"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        if password is not None:
            login = base64.b64encode(f"{_HTTP_USER}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return f"{answer.status} {answer.headers} {answer.read().decode()}"
        except urllib.error.HTTPError as refused:
            with refused:
                return str(refused.code) + str(refused.headers) + refused.read().decode()


@pytest.fixture
def start(bench: Bench, tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start `python -m consumer run` with every secret set; SIGKILL at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(*flags: str, **changes: object) -> Started:
        settings: ConsumerSettings = bench.make_settings(**changes)
        variables = {
            f"CONSUMER_{name.upper()}": json.dumps(value) if isinstance(value, dict | list) else str(value)
            for name, value in settings.model_dump(
                mode="json", exclude_defaults=True, exclude={"bootstrap_servers", "database_url"}
            ).items()
        }
        log_path = tmp_path / f"consumer-{uuid.uuid4().hex[:8]}.log"
        with log_path.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, *flags, "-m", "consumer", "run"],
                env=environment(
                    **variables,
                    KAFKA_BOOTSTRAP_SERVERS=settings.bootstrap_servers,
                    DATABASE_URL=settings.database_url.get_secret_value(),
                    CONSUMER_HTTP_USERNAME=_HTTP_USER,
                    CONSUMER_TRACING="true",
                    OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:{quote(_URL_PASSWORD, safe='')}@127.0.0.1:1/collector",
                ),
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return Started(ConsumerProcess(process, log_path))

    yield run
    for process in processes:
        process.kill()
        process.wait(30)


def customers_event(**changes: object) -> dict[str, Any]:
    return make_event(
        f"{CUSTOMER['text']}, write to {CUSTOMER['address']}",
        customer_id=CUSTOMER["id"],
        metadata={"contact": CUSTOMER["address"]},
        surname=CUSTOMER["id"],
        **changes,
    )


def publish_the_customer(bench: Bench) -> int:
    """Publish the customer's events, good and spoilt; returns how many records that are."""
    # Good, twice, changed under the same id, and spoilt in every way that a header could quote.
    good = customers_event()
    spoilt = [
        json.dumps(customers_event()).encode()[:-5],
        json.dumps(customers_event(occurred_at=CUSTOMER["id"])).encode(),
        json.dumps({**customers_event(), "source": [CUSTOMER["text"]]}).encode(),
        json.dumps({**customers_event(), "rating": CUSTOMER["id"]}).encode(),
        json.dumps({**customers_event(), "event_id": CUSTOMER["address"]}).encode(),
        json.dumps({**customers_event(), "metadata": {CUSTOMER["id"]: {CUSTOMER["text"]: [1]}}}).encode(),
        CUSTOMER["text"].encode() + b"\xff\xfe",
        b"[" * 5_000 + CUSTOMER["id"].encode(),
        None,
    ]
    headers = (("content-type", CUSTOMER["header"].encode()), (CUSTOMER["id"], CUSTOMER["header"].encode()))
    bench.publish([good, good, {**good, "text": CUSTOMER["text"]}, *spoilt], key=CUSTOMER["id"].encode())
    bench.publish([customers_event()], headers=headers)
    return len(spoilt) + 4


def look_at_what_is_kept(bench: Bench, announcer: Announcer, secrets: Sought, customer: Sought) -> None:
    """Search what topics and tables hold. The customer may stand in a record as it came, and in its row."""
    topics = (bench.topics.results, bench.topics.dead_letters, announcer.reports_topic)
    for topic in topics:
        for record in bench._read(topic):
            secrets.look(topic, record.value or b"")
            for name, value in record.headers.items():
                secrets.look(topic, f"{name}: {value!r}")
                if name.startswith("dlq-"):
                    customer.look("dead-letter headers", f"{name}: {value!r}")
            if topic == announcer.reports_topic:
                customer.look("reports", record.value or b"")
    with bench.engine.connect() as connection:
        tables = connection.scalars(
            text(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            )
        ).all()
        for table in tables:
            rows = connection.execute(text(f'SELECT t::text FROM "{table}" AS t')).scalars().all()  # noqa: S608
            secrets.look(table, "\n".join(rows))
            if table != "feedback":
                customer.look(table, "\n".join(rows))


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_consumer_at_work_and_at_its_end(
    bench: Bench, announcer: Announcer, start: Callable[..., Started], tmp_path: Path, folder: Path
) -> None:
    # The server's own password, which must be the right one, is a canary too where it is long enough to be told apart.
    password = make_url(bench.database.database_url.get_secret_value()).password
    known = {"DATABASE_URL": str(password)} if password is not None and len(str(password)) > _SHORT else {}
    secrets, customer = Sought({**SECRETS, **known}), Sought(CUSTOMER)
    started = start("-X", "dev", log_level="debug")
    wait_until(lambda: started.page("/health/ready").startswith("200"), "ready", alive=started.running.process)

    published = publish_the_customer(bench)
    bench.wait_for_outcomes(published, started.running)

    # Announcements that are refused, with secrets in their URLs.
    secret_url = f"https://user:{quote(_URL_PASSWORD, safe='')}@127.0.0.1:1/models"
    for role, url in ((LIVE, secret_url), (SHADOW, f"s3://bucket/x?sig={quote(_URL_PASSWORD)}"), (LIVE, str(folder))):
        offset = announcer.write(role.encode(), announcement(folder, role, url=url, manifest_sha256="0" * 64))
        wait_until(
            lambda offset=offset: any(r.announcement_offset == offset for r in announcer.reports(bench)),  # type: ignore[misc]
            "its report",
            alive=started.running.process,
        )

    for sought in (secrets, customer):
        for path in ("/metrics", "/info", "/health/live", "/health/ready", "/nothing", "/metrics?x=1"):
            sought.look(path, started.page(path))
            sought.look(path, started.page(path, SECRETS["CONSUMER_HTTP_PASSWORD"]))
            sought.look(path, started.page(path, "wrong"))
        sought.look("arguments", command_lines(started.running.process.pid))
    assert "feedback_records_total" in started.page("/metrics", SECRETS["CONSUMER_HTTP_PASSWORD"])

    limits = Path(f"/proc/{started.running.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max core file size")).split()[4] == "0"
    # An end that nobody planned: faulthandler tells where every thread was.
    started.running.process.send_signal(signal.SIGABRT)
    started.running.process.wait(30)
    second = start(log_format="console", log_level="debug")
    wait_until(lambda: "started" in second.running.log_path.read_text(), "it runs again", alive=second.running.process)
    assert second.running.end(signal.SIGTERM) == 0

    look_at_what_is_kept(bench, announcer, secrets, customer)
    for sought in (secrets, customer):
        sought.look_into(tmp_path)

    assert secrets.found == []
    assert customer.found == []
    log = started.running.log_path.read_text()
    assert "Fatal Python error: Aborted" in log
    assert {"/metrics", "arguments", "dead-letter headers", "feedback", "record_outcomes"} <= {
        *secrets.looked_at,
        *customer.looked_at,
    }
    assert secrets.looked_at["feedback"] > len(CUSTOMER["text"])


_PW: Final = quote(_DATABASE_PASSWORD, safe="")
_AWAY: Final = f"postgresql://feedback:{_PW}@127.0.0.1:1/feedback"
_SECRET_URL: Final = f"https://user:{quote(_URL_PASSWORD, safe='')}@127.0.0.1:1/models"
_KAFKA_AWAY: Final = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": _AWAY}
# What goes wrong, with the arguments and the environment of a real program; each ends by itself, in seconds.
ENDS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "settings shown": ("consumer check-config", {"CONSUMER_BUNDLE_URL": _SECRET_URL, "DATABASE_URL": _AWAY}),
    "prefixes shown": ("consumer check-config", {"CONSUMER_BUNDLE_ALLOWED_PREFIXES": json.dumps([_SECRET_URL])}),
    "client properties shown": (
        "consumer check-config",
        {"CONSUMER_LIBRDKAFKA": json.dumps({"sasl.oauthbearer.client.secret": secret("url")})},
    ),
    "no PostgreSQL": ("consumer check-config", {"DATABASE_URL": f"mysql://u:{_PW}@h/d"}),
    "a port that is none": ("consumer check-config", {"DATABASE_URL": f"postgresql://u:{_DATABASE_PASSWORD}@h:x/d"}),
    "a password that was not encoded": (
        "consumer check-config",
        {"DATABASE_URL": f"postgresql://u:{_DATABASE_PASSWORD}@h/d"},
    ),
    "a login in the wrong variable": ("consumer check-config", {"KAFKA_SECURITY_PROTOCOL": secret("sasl")}),
    "no JSON": ("consumer check-config", {"CONSUMER_LIBRDKAFKA": secret("sasl")}),
    "a flag": (f"consumer check-config --sasl-password {quote(secret('sasl'))}", {}),
    "a flag that is none": (f"consumer check-config --kafka-password={quote(secret('sasl'))}", {}),
    "a file that is a password": ("consumer check-config", {"KAFKA_SASL_PASSWORD_FILE": secret("sasl")}),
    "value and file": ("consumer check-config", {"CONSUMER_HTTP_PASSWORD_FILE": "/etc/hostname"}),
    "a bundle behind a login": (f"consumer classify --bundle {_SECRET_URL}", {}),
    "a bundle behind a signature": (f"consumer classify --bundle s3://b/x?sig={quote(_URL_PASSWORD)}", {}),
    "servers away": ("consumer run --outage-budget-s 1 --http-port 0 --log-level debug", _KAFKA_AWAY),
    "an own certificate": (
        "consumer run --http-port 0",
        {**_KAFKA_AWAY, "CONSUMER_HTTP_CERTIFICATE_FILE": "/etc/hostname", "CONSUMER_HTTP_KEY_FILE": "/etc/hostname"},
    ),
    "dead letters": ("consumer dlq list", _KAFKA_AWAY),
    "reconcile": ("consumer reconcile", _KAFKA_AWAY),
    "publisher": ("producer send hello", _KAFKA_AWAY),
    "tables": ("schemas migrate", _KAFKA_AWAY),
    "topics": ("schemas topics diff", _KAFKA_AWAY),
    "registry": ("schemas registry check", {"KAFKA_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}),
    "registry with a login in its URL": ("schemas registry check", {"KAFKA_SCHEMA_REGISTRY_URL": _SECRET_URL}),
    "reader": ("consumer.client tail --limit 1", _KAFKA_AWAY),
    "verify": (f"model_export verify {_SECRET_URL}", {}),
    "diff": (f"model_export diff {_SECRET_URL} s3://b/x?sig={quote(_URL_PASSWORD)}", {}),
    "publish": (f"model_export publish models/default --to {_SECRET_URL}", _KAFKA_AWAY),
    "list": ("model_export list", _KAFKA_AWAY),
    "sasl": (
        "consumer run --outage-budget-s 1 --http-port 0 --log-level debug",
        {**_KAFKA_AWAY, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "u"},
    ),
}


def test_programs_that_end_badly(tmp_path: Path) -> None:
    """Also with Python's developer mode, whose warnings and crash reports are the longest."""
    sought = Sought(SECRETS)
    away = {**environment(), "OTEL_TRACES_EXPORTER": "none", "XDG_CACHE_HOME": str(tmp_path)}
    running: list[tuple[str, subprocess.Popen[str]]] = []

    def finish(name: str, process: "subprocess.Popen[str]") -> None:
        out, _ = process.communicate(timeout=120)
        sought.look(name, out)
        assert "Traceback" not in out, f"{name}: {out[-2_000:]}"

    for name, (command, variables) in ENDS.items():
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", *command.split()],
            env={**away, **variables, "CONSUMER_HTTP_USERNAME": _HTTP_USER},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append((name, process))
        if len(running) > 2:
            finish(*running.pop(0))
    while running:
        finish(*running.pop(0))
    assert sought.found == []


CRASH: Final = """
import sys
from consumer import app
from consumer.settings import ConsumerSettings
def build(settings: ConsumerSettings) -> None:
    secret = settings.database_url.get_secret_value()
    raise RuntimeError(f"something quotes {secret}")
import consumer.__main__ as program
program.build = build
sys.argv = ["consumer", "run"]
program.command_line.run(program.app, "python -m consumer")
"""


def test_a_crash_tells_where_it_was_and_not_what_it_held() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CRASH],
        env=environment(DATABASE_URL=_AWAY, CONSUMER_LOG_FORMAT="json", CONSUMER_HTTP_USERNAME=_HTTP_USER),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    crashed = json.loads(done.stderr.splitlines()[-1])
    assert (crashed["event"], crashed["error"]) == ("crashed", "RuntimeError")
    assert crashed["at"].startswith("<string>:")
    sought = Sought(SECRETS)
    sought.look("crash", done.stdout + done.stderr)
    assert sought.found == []


def test_secrets_from_files_are_used_and_shown_nowhere(tmp_path: Path) -> None:
    for name, value in (("sasl", secret("sasl")), ("http", secret("http")), ("database", _AWAY)):
        (tmp_path / name).write_text(value + "\n")
    variables = environment(
        KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "sasl"),
        CONSUMER_HTTP_PASSWORD_FILE=str(tmp_path / "http"),
        DATABASE_URL_FILE=str(tmp_path / "database"),
        CONSUMER_HTTP_USERNAME=_HTTP_USER,
    )
    for name in ("KAFKA_SASL_PASSWORD", "CONSUMER_HTTP_PASSWORD"):
        del variables[name]
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "check-config"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["http_password"] == shown["sasl_password"] == "**********"
    assert shown["database_url"] == "postgresql://127.0.0.1:1/feedback"
    sought = Sought(SECRETS)
    sought.look("check-config", done.stdout + done.stderr)
    assert sought.found == []


def test_every_setting_that_holds_a_secret_is_among_the_canaries() -> None:
    for settings in (ConsumerSettings, SchemaRegistryConnection):
        for name, field in settings.model_fields.items():
            if SecretStr in (field.annotation, *get_args(field.annotation)):
                assert str(field.validation_alias or f"CONSUMER_{name}".upper()) in SECRETS


def test_a_canary_is_found_in_all_its_forms() -> None:
    for form in ("kanari-sasl-", quote(secret("sasl")), "Basic a2FuYXJpLXNhc2wtYzRuL3I6eUAlKyA/I3Nhc2w="):
        sought = Sought({"it": secret("sasl")})
        sought.look("somewhere", f"before {form} after")
        assert sought.found

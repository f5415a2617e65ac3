"""The consumer's settings: each has a default, an environment variable and a flag; they are checked together."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import CliSuppress, NoDecode, SettingsConfigDict, SettingsError

from consumer.redaction.redactor import KINDS, Kind
from schemas.connection import CONNECTION_PROPERTIES, DatabaseConnection, KafkaConnection, SecretFile
from schemas.secret_files import secret_from
from schemas.topics import DEAD_LETTERS, EVENTS, MODEL_REPORTS, MODELS, RESULTS

# How pydantic-settings begins what argparse says; everything else is about a value.
_FLAGS_AT_FAULT: Final = "error parsing CLI: "
_MIN_KEY_CHARS: Final = 32
_NEW_KEY: Final = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


class ConsumerSettings(KafkaConnection, DatabaseConnection):
    """Environment variables are `CONSUMER_` and the field's name in capitals; flags are the name with dashes.

    Connections come from `KAFKA_*` and `DATABASE_URL`, as everywhere in the project. Flags win over the environment.
    """

    model_config = SettingsConfigDict(
        env_prefix="CONSUMER_",
        populate_by_name=True,
        hide_input_in_errors=True,
        extra="ignore",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
    )

    group_id: str = Field(default="feedback-classifier", min_length=1, description="consumer group")
    replica_id: str = Field(
        default="0",
        min_length=1,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="stable and different for each replica (a StatefulSet's ordinal): two equal ones fence each other",
    )
    static_membership: bool = Field(default=False, description="keep partitions through a restart (group.instance.id)")
    events_topic: str = Field(default=EVENTS, description="topic to read")
    results_topic: str = Field(default=RESULTS, description="topic for results")
    dead_letter_topic: str = Field(default=DEAD_LETTERS, description="topic for what cannot be classified")
    models_topic: str = Field(default=MODELS, description="topic that announces bundles; a live one there comes first")
    model_reports_topic: str = Field(default=MODEL_REPORTS, description="topic for what became of announced bundles")
    librdkafka: dict[str, str] = Field(default_factory=dict, description="further client properties, as JSON")

    bundle_url: str | None = Field(
        default=None, description="model bundle while none is announced; the one that ships if absent"
    )
    bundle_allowed_prefixes: list[str] = Field(
        default_factory=list,
        description="URL prefixes that bundles may come from; if empty, CONSUMER_BUNDLE_URL may be any and no other "
        "place may be announced",
    )
    inference_threads: int | None = Field(
        default=None, ge=1, description="threads that classify; the CPU quota if absent"
    )
    inference_deadline_s: float = Field(default=30.0, gt=0, description="longest time for one batch")
    policy_file: Path | None = Field(default=None, description="routing policy; the one that ships if absent")

    max_window_records: int = Field(default=256, ge=1, le=5_000, description="most records in one transaction")
    max_window_bytes: int = Field(default=8_388_608, ge=1, description="most bytes in one transaction")
    max_wait_ms: int = Field(default=5, ge=0, le=10_000, description="longest wait for more records")
    dead_letter_max_run: int = Field(default=100, ge=1, description="dead letters in a row before it stops to ask")
    dead_letter_max_share: float = Field(
        default=0.5, gt=0, le=1, description="share of dead letters in a thousand records before it stops to ask"
    )

    session_timeout_ms: int = Field(default=45_000, ge=6_000, description="silence after which the group expels it")
    max_poll_interval_ms: int = Field(default=300_000, ge=60_000, description="longest time between two polls")
    transaction_timeout_ms: int = Field(
        default=15_000, ge=5_000, le=60_000, description="bounds how long a dead replica can hold readers up"
    )
    revoke_budget_s: float = Field(default=20.0, gt=0, description="time to finish before partitions are given up")
    shutdown_budget_s: float = Field(default=20.0, gt=0, le=25, description="time to finish after SIGTERM")
    outage_budget_s: float = Field(default=300.0, gt=0, description="how long Kafka may be away before it exits")
    accept_offset_mismatch: bool = Field(
        default=False, description="start although committed offsets and the ledger disagree"
    )

    statement_timeout_ms: int = Field(default=10_000, ge=100, description="longest database statement")
    lock_timeout_ms: int = Field(default=5_000, ge=100, description="longest wait for a database lock")

    redact: Annotated[list[Kind], NoDecode] = Field(
        default_factory=list,
        description="what to replace by placeholders before anything is classified, stored or published: "
        f"{', '.join(KINDS)}, comma separated",
    )
    redact_key_file: SecretFile = Field(
        default=None, description="file with the key of redaction, instead of the key itself"
    )
    redact_key: CliSuppress[SecretStr | None] = Field(
        default=None,
        validate_default=True,
        description="secret of redaction: the same on every replica, for as long as the ledger is kept",
    )

    http_host: str = Field(default="127.0.0.1", description="address of /metrics and /health")
    http_port: int = Field(
        default=9464, ge=0, le=65_535, description="port of /metrics and /health; 0 takes a free one"
    )
    http_username: str | None = Field(
        default=None, min_length=1, pattern="^[^:]+$", description="name that /metrics and /info ask for"
    )
    http_password_file: SecretFile = Field(
        default=None, description="file with the password of CONSUMER_HTTP_USERNAME, instead of the password itself"
    )
    http_password: CliSuppress[SecretStr | None] = Field(
        default=None, validate_default=True, description="password of CONSUMER_HTTP_USERNAME"
    )
    http_certificate_file: Path | None = Field(
        default=None, description="certificate chain (PEM): the HTTP port then speaks TLS"
    )
    http_key_file: Path | None = Field(default=None, description="private key of that certificate (PEM, not encrypted)")
    tracing: bool = Field(
        default=False, description="send OpenTelemetry spans (extra `otel`); OTEL_* variables say where and how many"
    )
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="auto: console on a terminal")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severity logged")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("http_password")
    @classmethod
    def _from_http_password_file(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        secret = secret_from(value, info.data.get("http_password_file"), "CONSUMER_HTTP_PASSWORD_FILE")
        return secret if secret is not None and secret.get_secret_value() else None

    @field_validator("librdkafka")
    @classmethod
    def _leaves_the_connection_alone(cls, properties: dict[str, str]) -> dict[str, str]:
        for name, setting in CONNECTION_PROPERTIES.items():
            if name in properties:
                raise ValueError(f"{name} is no further property: set {setting} instead")
        return properties

    @field_validator("redact", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        # From the environment and from flags it comes as a string or as strings; commas need no quotes in a shell.
        parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)]
        return [kind for part in parts for kind in re.split(r"[\s,\[\]\"]+", part.lower()) if kind]

    @field_validator("redact_key")
    @classmethod
    def _redact_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        key = secret_from(value, info.data.get("redact_key_file"), "CONSUMER_REDACT_KEY_FILE")
        if key is not None and len(key.get_secret_value()) < _MIN_KEY_CHARS:
            raise ValueError(f"must have at least {_MIN_KEY_CHARS} characters; to make one: {_NEW_KEY}")
        if key is None and info.data.get("redact"):
            raise ValueError(
                f"is needed by CONSUMER_REDACT: a secret that stays as long as the ledger; to make one: {_NEW_KEY}"
            )
        return key

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.revoke_budget_s * 1000 > self.max_poll_interval_ms / 2:
            raise ValueError("revoke_budget_s must stay under half of max_poll_interval_ms, or the group expels it")
        if self.statement_timeout_ms > self.revoke_budget_s * 1000:
            raise ValueError("statement_timeout_ms must not exceed revoke_budget_s, or one statement spends it all")
        if self.lock_timeout_ms > self.statement_timeout_ms:
            raise ValueError("lock_timeout_ms must not exceed statement_timeout_ms, or it never applies")
        if self.transaction_timeout_ms > self.revoke_budget_s * 1000:
            raise ValueError("transaction_timeout_ms must not exceed revoke_budget_s, or a revoke cannot finish one")
        if (self.http_username is None) != (self.http_password is None):
            raise ValueError("http_username and http_password go together: set both or neither")
        if (self.http_certificate_file is None) != (self.http_key_file is None):
            raise ValueError("http_certificate_file and http_key_file go together: set both or neither")
        names = ("events_topic", "results_topic", "dead_letter_topic", "models_topic", "model_reports_topic")
        if len({getattr(self, name) for name in names}) < len(names):
            raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} must be five different topics")
        return self


def explain(invalid: ValidationError | SettingsError) -> str:
    """What is wrong, in lines that name the setting, without its value."""
    if isinstance(invalid, SettingsError):
        words = str(invalid)
        if words.startswith(_FLAGS_AT_FAULT):
            return f"{_without_values(words.removeprefix(_FLAGS_AT_FAULT))}; `--help` lists the flags"
        # Its words may quote the value, which may hold a password.
        field = re.search(r'(?:encountered for |field ")(\w+)', words)
        return f"{field[1] if field else 'settings'}: cannot be read: write it as JSON"
    return "\n".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'settings'}: {error['msg'].removeprefix('Value error, ')}"
        for error in invalid.errors(include_url=False, include_input=False)
    )


def refuse_secrets(arguments: Sequence[str]) -> None:
    """Refuse flags that hold a secret: every account of the machine can read the arguments of a process.

    Raises:
        ValueError: there is one; the message names what to set instead.
    """
    for position, argument in enumerate(arguments):
        flag, has_value, value = argument.partition("=")
        variable = _SECRET_FLAGS.get(flag)
        if variable is None:
            continue
        given = value if has_value else "".join(arguments[position + 1 : position + 2])
        if variable != _DATABASE_URL or _LOGIN_WITH_PASSWORD.search(given):
            raise ValueError(
                f"{flag}: other accounts of this machine can read a flag; set {variable}, or {variable}_FILE to the "
                "path of a file that holds it"
            )


def _without_values(words: str) -> str:
    """What argparse says, with the names of flags and none of their values: one may be a misplaced password."""
    known, colon, arguments = words.partition("unrecognized arguments: ")
    flags = [word.partition("=")[0] for word in arguments.split() if word.startswith("--")]
    return f"{known}{colon}{', '.join(flags) or 'a value without a flag'}" if colon else words


_DATABASE_URL: Final = "DATABASE_URL"
_LOGIN_WITH_PASSWORD: Final = re.compile(r"://[^@]*:.*@|password=", re.IGNORECASE)
_SECRET_FLAGS: Final = {
    f"--{spelling.lower().replace('_', '-')}": str(field.validation_alias or f"CONSUMER_{name}".upper())
    for name, field in ConsumerSettings.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
    for spelling in {name, str(field.validation_alias or name)}
}

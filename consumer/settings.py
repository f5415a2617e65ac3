"""The consumer's settings: each has a default, an environment variable and a flag; they are checked together."""

import re
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict, SettingsError

from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.topics import DEAD_LETTERS, EVENTS, MODEL_REPORTS, MODELS, RESULTS

# How pydantic-settings begins what argparse says; everything else is about a value.
_FLAGS_AT_FAULT: Final = "error parsing CLI: "


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

    http_host: str = Field(default="127.0.0.1", description="address of /metrics and /health")
    http_port: int = Field(
        default=9464, ge=0, le=65_535, description="port of /metrics and /health; 0 takes a free one"
    )
    tracing: bool = Field(
        default=False, description="send OpenTelemetry spans (extra `otel`); OTEL_* variables say where and how many"
    )
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="auto: console on a terminal")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severity logged")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

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
        names = ("events_topic", "results_topic", "dead_letter_topic", "models_topic", "model_reports_topic")
        if len({getattr(self, name) for name in names}) < len(names):
            raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} must be five different topics")
        return self


def explain(invalid: ValidationError | SettingsError) -> str:
    """What is wrong, in lines that name the setting, without its value."""
    if isinstance(invalid, SettingsError):
        words = str(invalid)
        if words.startswith(_FLAGS_AT_FAULT):
            return f"{words.removeprefix(_FLAGS_AT_FAULT)}; `--help` lists the flags"
        # Its words may quote the value, which may hold a password.
        field = re.search(r'(?:encountered for |field ")(\w+)', words)
        return f"{field[1] if field else 'settings'}: cannot be read: write it as JSON"
    return "\n".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'settings'}: {error['msg'].removeprefix('Value error, ')}"
        for error in invalid.errors(include_url=False, include_input=False)
    )

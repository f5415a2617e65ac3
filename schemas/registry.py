"""The event's JSON Schema in a schema registry, and the header by which readers find it there. Optional.

Any registry with Confluent's HTTP interface will do. Its client comes with the extra `registry`, and is imported only
where a registry is set.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import RegisteredSchema, Schema, SchemaRegistryClient

VALUE_SCHEMA_ID: Final = "__value_schema_id"
"""The header in which Confluent's deserializers look for a schema before they look at the value."""

_BY_ID: Final = 0
_BY_GUID: Final = 1
_TIMEOUT_S: Final = 5.0
_RETRIES: Final = 2
_RETRY_WAIT_MS: Final = 200
_MAX_REASON_CHARS: Final = 300
_LOGIN_REFUSED: Final = frozenset({401, 403})
# Confluent's codes for an unknown subject, and for an unknown schema of a known one.
_NOT_REGISTERED: Final = frozenset({40401, 40403})


class RegistryError(Exception):
    """The registry is away, refuses, or cannot be used as it is set. One line, without secrets."""


class SchemaRegistryConnection(BaseSettings):
    """Where the schema registry is and how to log in. Without a URL there is none, and nothing asks for one."""

    model_config = SettingsConfigDict(populate_by_name=True, hide_input_in_errors=True, extra="ignore")

    url: str | None = Field(
        default=None,
        validation_alias="KAFKA_SCHEMA_REGISTRY_URL",
        description="http:// or https:// address of a registry with Confluent's interface",
    )
    username: str | None = Field(
        default=None, min_length=1, validation_alias="KAFKA_SCHEMA_REGISTRY_USERNAME", description="HTTP basic user"
    )
    password: SecretStr | None = Field(
        default=None, validation_alias="KAFKA_SCHEMA_REGISTRY_PASSWORD", description="HTTP basic password"
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must begin with http:// or https://")
        if parts.username is not None:
            raise ValueError(
                "must hold no login: use KAFKA_SCHEMA_REGISTRY_USERNAME and KAFKA_SCHEMA_REGISTRY_PASSWORD"
            )
        return url

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("KAFKA_SCHEMA_REGISTRY_USERNAME and KAFKA_SCHEMA_REGISTRY_PASSWORD go together")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of the environment.

        Raises:
            RegistryError: one of them makes no sense; it says which.
        """
        try:
            return cls()
        except ValidationError as invalid:
            error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
            where = "".join(f"{name}: " for name in error["loc"])
            raise RegistryError(where + error["msg"].removeprefix("Value error, ")) from None


@dataclass(frozen=True, slots=True)
class RegisteredEventSchema:
    """The event's schema as the registry holds it. Registries other than Confluent's give no GUID."""

    subject: str
    schema_id: int
    guid: UUID | None
    version: int | None

    def header(self) -> tuple[str, bytes]:
        """The record header that names the schema; the value stays plain JSON.

        Format: a byte 1 and the GUID in 16 bytes, or a byte 0 and the id in 4 bytes, big endian, as `SchemaId` of
        confluent-kafka reads both (`schema_registry/common/serde.py`).
        """
        if self.guid is not None:
            return VALUE_SCHEMA_ID, struct.pack(">B16s", _BY_GUID, self.guid.bytes)
        return VALUE_SCHEMA_ID, struct.pack(">BI", _BY_ID, self.schema_id)


def find_event_schema(connection: SchemaRegistryConnection, topic: str) -> RegisteredEventSchema | None:
    """The event's schema under the subject of `topic`, or None where it is not registered.

    Raises:
        RegistryError: no registry is set, none answers, or it refuses.
    """
    subject = _subject(topic)
    with _client(connection) as client:
        return _find(client, subject)


def register_event_schema(connection: SchemaRegistryConnection, topic: str) -> RegisteredEventSchema:
    """Register the event's schema under the subject of `topic`, unless it is there: reading is enough then.

    Raises:
        RegistryError: no registry is set, none answers, or it refuses, for instance because its rules of compatibility
            forbid this version after the last one.
    """
    subject = _subject(topic)
    with _client(connection) as client:
        found = _find(client, subject)
        if found is None:
            registered = client.register_schema_full_response(subject, _event_schema(), normalize_schemas=True)
            # Not every registry answers a registration with all that it answers a question with.
            found = _find(client, subject) or _facts(subject, registered)
        return found


def schema_headers(connection: SchemaRegistryConnection | None, topic: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that every record of `topic` gets: one that names its schema, or none where no registry is set.

    Args:
        connection: by default from the environment (`KAFKA_SCHEMA_REGISTRY_URL`, ...).
        topic: where the records go; the schema is registered under its subject if it is not there.

    Raises:
        RegistryError: see `register_event_schema`, or a setting makes no sense.
    """
    if connection is None:
        connection = SchemaRegistryConnection.from_environment()
    return () if connection.url is None else (register_event_schema(connection, topic).header(),)


def _subject(topic: str) -> str:
    # Confluent's default, the strategy by topic name.
    return f"{topic}-value"


def _event_schema() -> "Schema":
    from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 (of the extra `registry`)

    document = files("schemas.jsonschema").joinpath("feedback-event.v1.json").read_text("utf-8")
    return Schema(json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":")), "JSON")


@contextmanager
def _client(connection: SchemaRegistryConnection) -> "Iterator[SchemaRegistryClient]":
    if connection.url is None:
        raise RegistryError("KAFKA_SCHEMA_REGISTRY_URL is not set")
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 (of the extra `registry`)
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise RegistryError(
            f"KAFKA_SCHEMA_REGISTRY_URL is set, but {missing.name} is not installed: "
            "pip install 'feedback-stream[registry]'"
        ) from None
    config = {
        "url": connection.url,
        "timeout": _TIMEOUT_S,
        "max.retries": _RETRIES,
        "retries.wait.ms": _RETRY_WAIT_MS,
    }
    if connection.username is not None and connection.password is not None:
        config["basic.auth.user.info"] = f"{connection.username}:{connection.password.get_secret_value()}"
    where = f"schema registry at {connection.url}"
    try:
        with SchemaRegistryClient(config) as client:
            yield client
    except SchemaRegistryError as refused:
        raise RegistryError(
            f"{where}: {_why(refused.http_status_code, refused.error_message)} (HTTP {refused.http_status_code})"
        ) from None
    except (ValueError, TypeError):
        raise RegistryError(f"{where}: it does not answer as a schema registry does") from None
    except Exception as away:  # noqa: BLE001 (its HTTP library, and so the class, is another one from version to version)
        raise RegistryError(f"{where}: {_one_line(str(away) or type(away).__name__)}") from None


def _why(http_status: int, message: str | None) -> str:
    if http_status in _LOGIN_REFUSED:
        return "it refuses the login: see KAFKA_SCHEMA_REGISTRY_USERNAME and KAFKA_SCHEMA_REGISTRY_PASSWORD"
    return _one_line(message or "there is no interface of Confluent's under this address")


def _one_line(reason: str) -> str:
    return " ".join(reason.split())[:_MAX_REASON_CHARS]


def _find(client: "SchemaRegistryClient", subject: str) -> RegisteredEventSchema | None:
    from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415

    try:
        return _facts(subject, client.lookup_schema(subject, _event_schema(), normalize_schemas=True))
    except SchemaRegistryError as absent:
        # By the registry's own code: a web server that knows no such path answers 404 as well.
        if absent.error_code in _NOT_REGISTERED:
            return None
        raise


def _facts(subject: str, registered: "RegisteredSchema") -> RegisteredEventSchema:
    if not isinstance(registered.schema_id, int):
        raise TypeError("no schema id")
    guid = None if registered.guid is None else UUID(registered.guid)
    return RegisteredEventSchema(subject, registered.schema_id, guid, registered.version)

"""How every part of the project reaches Kafka and PostgreSQL: settings from the environment, secrets masked."""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, CliSuppress, SettingsConfigDict

from schemas.secret_files import is_readable, secret_from

LibrdkafkaConfig = dict[str, str | int | float | bool]

_DEFAULT_DATABASE_URL: Final = SecretStr("postgresql://feedback@localhost:5432/feedback")


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


SecretFile = Annotated[Path | None, BeforeValidator(_none_if_empty), AfterValidator(is_readable)]
"""A file with a secret; declared before the setting that it stands for."""
_OptionalPath = Annotated[str | None, BeforeValidator(_none_if_empty)]


class KafkaConnection(BaseSettings):
    """Where the brokers are and how to log in.

    The same variables serve the publisher, the consumer and `python -m schemas topics`.
    """

    model_config = SettingsConfigDict(populate_by_name=True, hide_input_in_errors=True, extra="ignore")

    bootstrap_servers: str = Field(
        default="localhost:9092",
        min_length=1,
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        description="host:port, comma separated",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", validation_alias="KAFKA_SECURITY_PROTOCOL", description="transport and login"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", validation_alias="KAFKA_SASL_MECHANISM", description="used with SASL_* only"
    )
    sasl_username: str | None = Field(default=None, validation_alias="KAFKA_SASL_USERNAME", description="SASL user")
    sasl_password_file: SecretFile = Field(
        default=None,
        validation_alias="KAFKA_SASL_PASSWORD_FILE",
        description="file with the SASL password, instead of the password itself",
    )
    sasl_password: CliSuppress[SecretStr | None] = Field(
        default=None, validate_default=True, validation_alias="KAFKA_SASL_PASSWORD", description="SASL password"
    )
    ssl_ca_location: str | None = Field(
        default=None, validation_alias="KAFKA_SSL_CA_LOCATION", description="CA certificate file (PEM)"
    )
    ssl_certificate_location: _OptionalPath = Field(
        default=None,
        validation_alias="KAFKA_SSL_CERTIFICATE_LOCATION",
        description="this client's certificate file (PEM), where brokers ask for one",
    )
    ssl_key_location: _OptionalPath = Field(
        default=None,
        validation_alias="KAFKA_SSL_KEY_LOCATION",
        description="private key file of that certificate (PEM)",
    )
    ssl_key_password_file: SecretFile = Field(
        default=None,
        validation_alias="KAFKA_SSL_KEY_PASSWORD_FILE",
        description="file with the private key's password, instead of the password itself",
    )
    ssl_key_password: CliSuppress[SecretStr | None] = Field(
        default=None,
        validate_default=True,
        validation_alias="KAFKA_SSL_KEY_PASSWORD",
        description="password of the private key, if it has one",
    )
    ssl_verify_hostname: bool = Field(
        default=True,
        validation_alias="KAFKA_SSL_VERIFY_HOSTNAME",
        description="the broker's certificate must name the host that was connected to; without it, whoever holds any "
        "certificate of the CA can pose as a broker",
    )

    @field_validator("sasl_password", "ssl_key_password")
    @classmethod
    def _from_file(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        file = info.data.get(f"{info.field_name}_file")
        return secret_from(value, file, f"KAFKA_{info.field_name}_FILE".upper())

    @field_validator("ssl_key_location")
    @classmethod
    def _has_certificate(cls, key: str | None, info: ValidationInfo) -> str | None:
        if (key is None) != (info.data.get("ssl_certificate_location") is None):
            raise ValueError(
                "KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION go together: set both or neither"
            )
        return key

    def as_librdkafka(self) -> LibrdkafkaConfig:
        """The connection part of a librdkafka configuration. Holds the passwords in the clear: never log it."""
        config: LibrdkafkaConfig = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            if self.sasl_username is not None:
                config["sasl.username"] = self.sasl_username
            if self.sasl_password is not None:
                config["sasl.password"] = self.sasl_password.get_secret_value()
        if self.ssl_ca_location is not None:
            config["ssl.ca.location"] = self.ssl_ca_location
        if self.security_protocol.endswith("SSL"):
            # librdkafka's default, said here because everything rests on it.
            config["ssl.endpoint.identification.algorithm"] = "https" if self.ssl_verify_hostname else "none"
            if self.ssl_certificate_location is not None and self.ssl_key_location is not None:
                config["ssl.certificate.location"] = self.ssl_certificate_location
                config["ssl.key.location"] = self.ssl_key_location
                if self.ssl_key_password is not None:
                    config["ssl.key.password"] = self.ssl_key_password.get_secret_value()
        return config


CONNECTION_PROPERTIES: Final[dict[str, str]] = {
    "bootstrap.servers": "KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "KAFKA_BOOTSTRAP_SERVERS",
    "security.protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanism": "KAFKA_SASL_MECHANISM",
    "sasl.mechanisms": "KAFKA_SASL_MECHANISM",
    "sasl.username": "KAFKA_SASL_USERNAME",
    "sasl.password": "KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE",
    "ssl.ca.location": "KAFKA_SSL_CA_LOCATION",
    "ssl.ca.pem": "KAFKA_SSL_CA_LOCATION",
    "ssl.certificate.location": "KAFKA_SSL_CERTIFICATE_LOCATION",
    "ssl.certificate.pem": "KAFKA_SSL_CERTIFICATE_LOCATION",
    "ssl.key.location": "KAFKA_SSL_KEY_LOCATION",
    "ssl.key.pem": "KAFKA_SSL_KEY_LOCATION",
    "ssl.keystore.location": "KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION",
    "ssl.keystore.password": "KAFKA_SSL_KEY_PASSWORD or KAFKA_SSL_KEY_PASSWORD_FILE",
    "ssl.key.password": "KAFKA_SSL_KEY_PASSWORD or KAFKA_SSL_KEY_PASSWORD_FILE",
    "ssl.endpoint.identification.algorithm": "KAFKA_SSL_VERIFY_HOSTNAME",
    "enable.ssl.certificate.verification": "KAFKA_SSL_CA_LOCATION, with the CA of the brokers' certificates",
}
"""librdkafka's properties of a connection, and the settings that hold them: for all of a program's clients alike, in
the open, secrets masked. They are refused among the further properties that a program may be given."""


class DatabaseConnection(BaseSettings):
    """Which PostgreSQL database holds the tables."""

    model_config = SettingsConfigDict(populate_by_name=True, hide_input_in_errors=True, extra="ignore")

    database_url_file: SecretFile = Field(
        default=None,
        validation_alias="DATABASE_URL_FILE",
        description="file with the database's URL, instead of the URL itself",
    )
    database_url: SecretStr = Field(
        default=_DEFAULT_DATABASE_URL,
        validate_default=True,
        validation_alias="DATABASE_URL",
        description="postgresql://user:password@host:port/database",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        given = None if value == _DEFAULT_DATABASE_URL else value
        url = secret_from(given, info.data.get("database_url_file"), "DATABASE_URL_FILE") or value
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg2"}:
            raise ValueError("must begin with postgresql://")
        try:
            parts.port  # noqa: B018 (urlsplit judges the port only when asked)
        except ValueError:
            # Its own words could quote a piece of a password.
            raise ValueError(
                "the port must be a number; characters such as / in a password must be percent-encoded"
            ) from None
        return url

    def sqlalchemy_url(self) -> str:
        """The URL with its driver named, password in the clear: never log it."""
        rest = self.database_url.get_secret_value().split("://", 1)[1]
        return f"postgresql+psycopg2://{rest}"

    def database_address(self) -> str:
        """The URL without its credentials, for people to read."""
        parts = urlsplit(self.database_url.get_secret_value())
        return f"postgresql://{parts.hostname or ''}:{parts.port or 5432}{parts.path}"

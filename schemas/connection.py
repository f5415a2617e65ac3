"""How every part of the project reaches Kafka and PostgreSQL: settings from the environment, secrets masked."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LibrdkafkaConfig = dict[str, str | int | float | bool]


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
    sasl_password: SecretStr | None = Field(
        default=None, validation_alias="KAFKA_SASL_PASSWORD", description="SASL password"
    )
    ssl_ca_location: str | None = Field(
        default=None, validation_alias="KAFKA_SSL_CA_LOCATION", description="CA certificate file (PEM)"
    )

    def as_librdkafka(self) -> LibrdkafkaConfig:
        """The connection part of a librdkafka configuration. Holds the password in the clear: never log it."""
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
        return config


class DatabaseConnection(BaseSettings):
    """Which PostgreSQL database holds the tables."""

    model_config = SettingsConfigDict(populate_by_name=True, hide_input_in_errors=True, extra="ignore")

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://feedback@localhost:5432/feedback"),
        validation_alias="DATABASE_URL",
        description="postgresql://user:password@host:port/database",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr) -> SecretStr:
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

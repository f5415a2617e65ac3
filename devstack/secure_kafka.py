"""Kafka with TLS everywhere, logins by password or certificate, and no right that was not given."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from devstack import ports
from devstack.errors import DevstackError
from devstack.kafka import Broker, Kafka
from devstack.secret_files import write_secret

ADMINISTRATOR: Final = "administrator"
"""May do everything, and logs in with its certificate only."""
USERS: Final = ("publisher", "consumer", "reader", "operator", "announcer")
"""Whom a secure stack knows beside the administrator. They may do nothing until somebody gives them rights."""

WITHOUT_DATABASE: Final = frozenset({"publisher", "reader"})
"""Those of them who have no business with PostgreSQL."""
LOGIN_VARIABLES: Final = (
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_PASSWORD_FILE",
    "KAFKA_SSL_CA_LOCATION",
    "KAFKA_SSL_CERTIFICATE_LOCATION",
    "KAFKA_SSL_KEY_LOCATION",
    "KAFKA_SSL_KEY_PASSWORD",
    "KAFKA_SSL_KEY_PASSWORD_FILE",
)
"""Every variable that says how to log in to Kafka."""

_MECHANISM: Final = "SCRAM-SHA-512"
# Kafka's own default is 4096, its limit 16384.
_ITERATIONS: Final = 8192
_REQUEST_TIMEOUT_S: Final = 30.0


class SecureKafka(Kafka):
    """The brokers of a secure stack.

    Each broker has two listeners for clients: ``SASL_SSL`` asks for a password (SCRAM), ``SSL`` for a certificate,
    whose common name is the user's. Brokers and controllers talk to each other by certificates too.
    """

    def __init__(
        self,
        directory: Path,
        cluster_id: str,
        broker_ports: list[int],
        controller_ports: list[int],
        certificate_ports: list[int],
    ) -> None:
        from devstack.certificates import Authority  # noqa: PLC0415  (plain stacks need no cryptography)

        self._directory = directory / "security"
        self._authority = Authority(self._directory)
        self._certificate_ports = certificate_ports
        super().__init__(directory, cluster_id, broker_ports, controller_ports)
        for broker, port in zip(self.brokers, certificate_ports, strict=True):
            broker.client_config = self._administrator_config(f"{ports.HOST}:{port}")

    def prepare(self) -> None:
        """Make what the brokers and their clients need to know each other by, and renew what is about to expire.

        A broker that runs takes its renewed certificate at its next start.
        """
        self._authority.create()
        for broker in self.brokers:
            identity = self._authority.keep(broker.name, hosts=[ports.HOST, "localhost"])
            # Kafka wants both in one file.
            write_secret(
                self._key_store(broker), identity.key.read_text("ascii") + identity.certificate.read_text("ascii")
            )
        for name in (ADMINISTRATOR, *USERS):
            self._authority.keep(name)
        for name in USERS:
            if not self._password_file(name).exists():
                write_secret(self._password_file(name), secrets.token_urlsafe(24))

    def create_users(self) -> None:
        """Make the brokers know the passwords that the files hold.

        Raises:
            DevstackError: They refuse.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415  (keeps `import devstack` cheap)
        from confluent_kafka.admin import (  # noqa: PLC0415
            AdminClient,
            ScramCredentialInfo,
            ScramMechanism,
            UserScramCredentialUpsertion,
        )

        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        passwords = {name: self._password_file(name).read_bytes() for name in USERS}
        admin = AdminClient({**self.brokers[0].client_config, "log_level": 0})
        altered = admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(name, how, password) for name, password in passwords.items()],
            request_timeout=_REQUEST_TIMEOUT_S,
        )
        try:
            for future in altered.values():
                future.result()
        except KafkaException as failure:
            raise DevstackError(f"Kafka does not take the users: {failure.args[0].str()}.") from None

    def environment(self, name: str, *, by_certificate: bool) -> dict[str, str]:
        """Return the variables that log a client in as ``name``; no secret is among them, only the files that hold one.

        Raises:
            DevstackError: There is no such user.
        """
        if name not in (ADMINISTRATOR, *USERS):
            raise DevstackError(f"There is no user {name}; there are {', '.join((*USERS, ADMINISTRATOR))}.")
        trust = {"KAFKA_SSL_CA_LOCATION": str(self._authority.certificate)}
        if by_certificate or name == ADMINISTRATOR:
            identity = self._authority.identity(name)
            return {
                "KAFKA_BOOTSTRAP_SERVERS": ",".join(f"{ports.HOST}:{port}" for port in self._certificate_ports),
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "KAFKA_SSL_CERTIFICATE_LOCATION": str(identity.certificate),
                "KAFKA_SSL_KEY_LOCATION": str(identity.key),
                **trust,
            }
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": _MECHANISM,
            "KAFKA_SASL_USERNAME": name,
            "KAFKA_SASL_PASSWORD_FILE": str(self._password_file(name)),
            **trust,
        }

    def _administrator_config(self, address: str) -> dict[str, str]:
        identity = self._authority.identity(ADMINISTRATOR)
        return {
            "bootstrap.servers": address,
            "security.protocol": "SSL",
            "ssl.ca.location": str(self._authority.certificate),
            "ssl.certificate.location": str(identity.certificate),
            "ssl.key.location": str(identity.key),
        }

    def _password_file(self, name: str) -> Path:
        return self._directory / f"{name}.password"

    def _key_store(self, broker: Broker) -> Path:
        return self._directory / f"{broker.name}.keystore.pem"

    def _properties(self, broker: Broker) -> dict[str, str]:
        properties = super()._properties(broker)
        controller = properties["listeners"].partition(",")[2]
        clients = f"SASL_SSL://{broker.address},SSL://{ports.HOST}:{self._certificate_ports[broker.node_id - 1]}"
        return {
            **properties,
            "listeners": f"{clients},{controller}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SSL",
            **_tls(self._key_store(broker), self._authority.certificate),
            "listener.name.sasl_ssl.ssl.client.auth": "none",
            "sasl.enabled.mechanisms": _MECHANISM,
            f"listener.name.sasl_ssl.{_MECHANISM.lower()}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": ";".join(f"User:{name}" for name in [*(each.name for each in self.brokers), ADMINISTRATOR]),
        }


def _tls(key_store: Path, authority: Path) -> Mapping[str, str]:
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
        "ssl.client.auth": "required",
        "ssl.endpoint.identification.algorithm": "https",
        # A subject of more than a common name stays as it is: a user whom nobody gave any right.
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/,DEFAULT",
    }

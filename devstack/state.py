"""What a stack remembers between commands: its size, its ports and where its data lies."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devstack.errors import DevstackError

_PLAIN_FORMAT = 1
# An older version, which knows plain stacks only, must not take a secure one for one of those.
_SECURE_FORMAT = 2


@dataclass
class State:
    """The content of ``state.json``; it holds no secret.

    Attributes:
        cluster_id: Kafka's id of the cluster, 22 characters of URL-safe base64.
        broker_ports: Port of each broker for clients.
        controller_ports: Port of each broker for the KRaft quorum.
        postgres_port: Port of PostgreSQL.
        postgres_home: Folder with PostgreSQL's data and log.
        certificate_ports: Port of each broker for clients that log in with a certificate; none in a plain stack.
    """

    cluster_id: str
    broker_ports: list[int]
    controller_ports: list[int]
    postgres_port: int
    postgres_home: str
    certificate_ports: list[int] = field(default_factory=list)

    @property
    def is_secure(self) -> bool:
        """Whether Kafka asks for a login, and encrypts."""
        return bool(self.certificate_ports)

    def save(self, path: Path) -> None:
        """Write the state to ``path``, whole or not at all."""
        draft = path.with_suffix(".partial")
        content = {"format": _SECURE_FORMAT if self.is_secure else _PLAIN_FORMAT, **asdict(self)}
        if not self.is_secure:
            del content["certificate_ports"]
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> "State | None":
        """Read the state at ``path``; None if there is none.

        Raises:
            DevstackError: The file was written by another version of devstack.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if content.pop("format", None) not in {_PLAIN_FORMAT, _SECURE_FORMAT}:
            raise DevstackError(
                f"{path} was written by another version of devstack; remove {path.parent} to start afresh."
            )
        return cls(**content)

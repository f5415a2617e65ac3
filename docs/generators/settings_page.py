"""The page of settings, from the pydantic-settings classes."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import CLI_SUPPRESS, BaseSettings

from consumer.settings import ConsumerSettings
from docs.generators.contract_pages import NOTICE
from docs.generators.fields import describe
from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.registry import SchemaRegistryConnection

SECTIONS: dict[type[BaseSettings], tuple[str, str]] = {
    KafkaConnection: ("Kafka", "Read by every program of the project."),
    DatabaseConnection: (
        "PostgreSQL",
        "Read by the consumer, its operators' commands and `python -m schemas migrate`.",
    ),
    SchemaRegistryConnection: (
        "Schema registry",
        "Optional. Read by the publisher and by `python -m schemas registry`; they need the extra `registry`.",
    ),
    ConsumerSettings: (
        "Consumer",
        "Read by `python -m consumer`. Names beginning with `CONSUMER_` belong to it alone.",
    ),
}
"""Every settings class with its heading, those that others inherit from first."""


def settings_page() -> str:
    """docs/reference/configuration.md."""
    lines = [
        NOTICE,
        "# Settings",
        "",
        "Each is an environment variable; where a flag is named, it is one of `python -m consumer run` and",
        "`check-config`, and wins over the variable. `python -m consumer check-config` prints what is in force,",
        "secrets masked. [operations.md](../operations.md#settings) explains those that are changed most.",
    ]
    shown: set[str] = set()
    for cls, (title, introduction) in SECTIONS.items():
        own = {name: field for name, field in cls.model_fields.items() if name not in shown}
        shown |= own.keys()
        lines += ["", f"## {title}", "", introduction, "", *_table(cls, own)]
    return "\n".join(lines) + "\n"


def environment_name(cls: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    return str(field.validation_alias or f"{cls.model_config.get('env_prefix', '')}{name}".upper())


def _table(cls: type[BaseSettings], own: dict[str, FieldInfo]) -> Iterator[str]:
    schema = cls.model_json_schema(by_alias=False)
    has_flags = issubclass(ConsumerSettings, cls)
    yield "| variable | flag | type | default | limits | |" if has_flags else "| variable | type | default | limits | |"
    yield "|---|---|---|---|---|---|" if has_flags else "|---|---|---|---|---|"
    for name, field in own.items():
        row = describe(name, schema["properties"][name], schema, required=field.is_required())
        variable = environment_name(cls, name, field)
        flag = f"`--{str(field.validation_alias or name).lower().replace('_', '-')}`"
        if CLI_SUPPRESS in field.metadata:
            flag = "none: it is a secret"
        kind = row.type.removesuffix(" or null")
        values = f"one of {', '.join(f'`{value}`' for value in row.values)}" if row.values else ""
        limits = "; ".join(part for part in (values, row.limits) if part).replace("|", "\\|")
        cells = [f"`{variable}`", flag, kind, _default(field), limits, row.description.replace("|", "\\|")]
        yield f"| {' | '.join(cells if has_flags else [cells[0], *cells[2:]])} |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value in (None, [], {}) else f"`{value.as_posix() if isinstance(value, Path) else value}`"

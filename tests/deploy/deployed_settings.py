"""What a deployment file sets in a container's environment, held against the settings classes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from consumer.settings import ConsumerSettings

ROOT = Path(__file__).parents[2]

ENVIRONMENT_NAMES = {
    str(field.validation_alias) if field.validation_alias is not None else f"CONSUMER_{name.upper()}"
    for name, field in ConsumerSettings.model_fields.items()
}


def is_ours(name: str) -> bool:
    return name.startswith(("CONSUMER_", "KAFKA_")) or name == "DATABASE_URL"


def settings_from(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> ConsumerSettings:
    """The consumer's settings in a process with exactly these variables.

    pydantic-settings passes over names that it does not know: a misspelt one would go unnoticed without this check.
    """
    assert {name for name in variables if is_ours(name)} <= ENVIRONMENT_NAMES
    for name in ENVIRONMENT_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return ConsumerSettings()

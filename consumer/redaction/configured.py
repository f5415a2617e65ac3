"""The redactor that the settings ask for."""

from collections.abc import Callable

from consumer.redaction.redactor import Kind, Redactor
from consumer.settings import ConsumerSettings


def configured_redactor(
    settings: ConsumerSettings, on_found: Callable[[Kind], object] | None = None
) -> Redactor | None:
    """None without a key. With a key and no kinds nothing is replaced, and what was replaced before is recognised."""
    if settings.redact_key is None:
        return None
    return Redactor(settings.redact, settings.redact_key.get_secret_value().encode(), on_found)

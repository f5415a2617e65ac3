"""Where publishing finds Kafka, PostgreSQL and the topics: the variables that the consumers have too."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.topics import MODEL_REPORTS, MODELS


class PublishingSettings(KafkaConnection, DatabaseConnection):
    """Connections from `KAFKA_*` and `DATABASE_URL`; topics as the consumers' settings name them."""

    model_config = SettingsConfigDict(populate_by_name=True, hide_input_in_errors=True, extra="ignore")

    models_topic: str = Field(default=MODELS, min_length=1, validation_alias="CONSUMER_MODELS_TOPIC")
    model_reports_topic: str = Field(
        default=MODEL_REPORTS, min_length=1, validation_alias="CONSUMER_MODEL_REPORTS_TOPIC"
    )

"""Hyper-parameters of a training run, read from TOML."""

import tomllib
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.labels import HEADS, Head

DEFAULT_CONFIG: Final = Path(__file__).with_name("config.toml")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the reason."""


class TrainingConfig(BaseModel):
    """What, next to the data, decides a run's outcome. Shares lie between 0 and 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    seed: int = Field(ge=0)
    max_length_tokens: int = Field(ge=8, le=512)
    validation_share: float = Field(gt=0, lt=0.5)
    epochs: int = Field(ge=1)
    patience_epochs: int = Field(ge=1)
    batch_records: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    max_gradient_norm: float = Field(gt=0)
    label_smoothing: float = Field(ge=0, lt=1)
    low_confidence_weight: float = Field(gt=0, le=1)
    head_weights: dict[Head, float]

    @model_validator(mode="after")
    def _every_head_is_weighted(self) -> Self:
        if set(self.head_weights) != set(HEADS) or min(self.head_weights.values()) < 0:
            raise ValueError(f"head_weights needs a weight of at least 0 for each of {', '.join(HEADS)}")
        return self


def read_config(
    path: Path, *, base: str | None = None, epochs: int | None = None, seed: int | None = None
) -> TrainingConfig:
    """Read a configuration; what is given beside the path replaces the file's value.

    Raises:
        ConfigError: the file cannot be read or a value does not fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    given = {"base": base, "epochs": epochs, "seed": seed}
    try:
        return TrainingConfig.model_validate(values | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error

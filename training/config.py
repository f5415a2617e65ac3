"""Hyper-parameters of a training run, read from TOML."""

import tomllib
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.labels import HEADS, Head

DEFAULT_CONFIG: Final = Path(__file__).with_name("config.toml")
TEACHER_CONFIG: Final = Path(__file__).with_name("teacher.toml")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the reason."""


class TrainingConfig(BaseModel):
    """What, next to the data, decides a run's outcome. Shares lie between 0 and 1.

    Attributes:
        head_seed: draws the first weights of the heads; `seed` if absent. Runs that shall be averaged share it.
        keep_layers: which layers of the base the model starts from, counted from 0; all if empty.
        soft_weight: of a teacher's probabilities in the loss of a row that has a label too; a row without label learns
            from them alone.
        soft_temperature: softens both sides of that loss (Hinton, Vinyals & Dean 2015).
        adversarial_epsilon: length of the step against each text's word embeddings (Miyato, Dai & Goodfellow 2017);
            0 leaves it out.
        average_epochs: the weights of so many last epochs are averaged; validation decides between them and the best.
        save_steps: an interrupted run loses at most so many steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    seed: int = Field(ge=0)
    head_seed: int | None = Field(default=None, ge=0)
    pooling: Literal["mean", "first"] = "mean"
    keep_layers: tuple[int, ...] = ()
    max_length_tokens: int = Field(ge=8, le=512)
    validation_share: float = Field(gt=0, lt=0.5)
    epochs: int = Field(ge=1)
    patience_epochs: int = Field(ge=1)
    average_epochs: int = Field(default=1, ge=1)
    save_steps: int = Field(default=200, ge=1)
    batch_records: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    max_gradient_norm: float = Field(gt=0)
    label_smoothing: float = Field(ge=0, lt=1)
    low_confidence_weight: float = Field(gt=0, le=1)
    soft_weight: float = Field(default=0.5, ge=0, le=1)
    soft_temperature: float = Field(default=1.0, gt=0)
    adversarial_epsilon: float = Field(default=0.0, ge=0)
    head_weights: dict[Head, float]

    @model_validator(mode="after")
    def _every_head_is_weighted(self) -> Self:
        if set(self.head_weights) != set(HEADS) or min(self.head_weights.values()) < 0:
            raise ValueError(f"head_weights needs a weight of at least 0 for each of {', '.join(HEADS)}")
        if list(self.keep_layers) != sorted(set(self.keep_layers)) or min(self.keep_layers, default=0) < 0:
            raise ValueError("keep_layers needs layers counted from 0, rising, each once")
        return self


def read_config(path: Path, **given: Any) -> TrainingConfig:  # noqa: ANN401 (fields of TrainingConfig)
    """Read a configuration; what is given beside the path, and is not None, replaces the file's value.

    Raises:
        ConfigError: the file cannot be read or a value does not fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return TrainingConfig.model_validate(values | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error

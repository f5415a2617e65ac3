"""A recipe: everything between files of labelled rows and a measured bundle, as one TOML file."""

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_export.request import Quantisation
from training.config import DEFAULT_CONFIG, TEACHER_CONFIG, ConfigError, TrainingConfig, read_config

_DATA_PLACEHOLDER = "{data}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPart(_Strict):
    """What the training file is built from. `{data}` in a path is the folder given by --data.

    Attributes:
        files: labelled rows, in rising order of trust.
        labels: files of labels without texts, trusted above the files.
        texts: where those texts are found.
        keep_unlabelled: keep the other texts for the teachers.
        min_samples: fewest labelled rows to train on.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    keep_unlabelled: bool = False
    min_samples: int = Field(default=1, ge=1)


class TeacherPart(_Strict):
    """One teacher. `set` changes single values of the configuration."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    config: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


class StudentPart(_Strict):
    """The students: one run a seed, averaged when there are several."""

    seeds: tuple[int, ...] = Field(min_length=1)
    config: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


class BundlePart(_Strict):
    """The bundle that comes out, and the one that it must be as good as."""

    name: str
    version: str
    quantise: Quantisation = "int8"
    compare_with: str | None = None


class Recipe(_Strict):
    """All stages. Recipes that share data and teachers, in one output folder, share those stages' results."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    data: DataPart
    teachers: tuple[TeacherPart, ...] = ()
    students: StudentPart
    bundle: BundlePart

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [teacher.name for teacher in self.teachers]
        if len(set(names)) != len(names) or len(set(self.students.seeds)) != len(self.students.seeds):
            raise ValueError("teachers need different names, and students different seeds")
        return self


class RecipeFile:
    """A recipe with its paths resolved: relative ones start from the recipe's own folder."""

    def __init__(self, path: Path, data: Path | None) -> None:
        """Read the file.

        Args:
            path: the recipe.
            data: the folder that `{data}` stands for.

        Raises:
            ConfigError: it cannot be read or does not fit, or uses `{data}` where none is given.
        """
        self._path = path
        self._data = data
        try:
            self.recipe = Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error

    def resolve(self, value: str) -> Path:
        """The path that a value of the recipe names.

        Raises:
            ConfigError: nothing is there, or `{data}` stands for nothing.
        """
        if _DATA_PLACEHOLDER in value:
            if self._data is None:
                raise ConfigError(f"{self._path}: {value}: give --data, the folder that {_DATA_PLACEHOLDER} stands for")
            value = value.replace(_DATA_PLACEHOLDER, str(self._data))
        resolved = self._path.parent / value
        if not resolved.exists():
            raise ConfigError(f"{self._path}: {value}: there is no such file ({resolved})")
        return resolved

    def teacher_config(self, teacher: TeacherPart) -> TrainingConfig:
        """The hyper-parameters of a teacher.

        Raises:
            ConfigError: see `read_config`.
        """
        return read_config(self.resolve(teacher.config) if teacher.config else TEACHER_CONFIG, **teacher.set)

    def student_config(self, seed: int) -> TrainingConfig:
        """The hyper-parameters of the student of one seed.

        Raises:
            ConfigError: see `read_config`.
        """
        students = self.recipe.students
        path = self.resolve(students.config) if students.config else DEFAULT_CONFIG
        return read_config(path, **{**students.set, "seed": seed})

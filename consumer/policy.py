"""Routing: which queue and priority a classified message gets, and which reply to suggest."""

import re
import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consumer.errors import FatalError
from schemas.labels import Category, Constructive, Sentiment
from schemas.result import Priority, Routing


class _Route(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Category | None = None
    sentiment: Sentiment | None = None
    constructive: Constructive | None = None
    queue: str = Field(min_length=1, max_length=100)
    priority: Priority

    def matches(self, category: str, sentiment: str, constructive: str) -> bool:
        return (
            self.category in {None, category}
            and self.sentiment in {None, sentiment}
            and self.constructive in {None, constructive}
        )


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Category
    keywords: tuple[str, ...] = ()
    text: str = Field(min_length=1, max_length=2000)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(rf"\b{re.escape(word)}\b" for word in self.keywords), re.IGNORECASE)

    def relevance(self, text: str) -> int:
        """How many different keywords the text holds; 1 for a reply without keywords."""
        if not self.keywords:
            return 1
        return len({match.lower() for match in self._pattern.findall(text)})


class Policy(BaseModel):
    """A policy file. `route` is tried in order; its last entry matches everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: tuple[_Route, ...] = Field(min_length=1)
    reply: tuple[_Reply, ...] = ()

    @model_validator(mode="after")
    def _last_route_catches_all(self) -> Self:
        last = self.route[-1]
        if (last.category, last.sentiment, last.constructive) != (None, None, None):
            raise ValueError("the last [[route]] must have no condition, so that every message has a queue")
        return self

    def decide(self, text: str, *, category: str, sentiment: str, constructive: str) -> Routing:
        """The routing of one message with these verdicts."""
        route = next(route for route in self.route if route.matches(category, sentiment, constructive))
        relevant = [(reply.relevance(text), reply.text) for reply in self.reply if reply.category == category]
        score, best = max(relevant, key=lambda pair: pair[0], default=(0, None))
        return Routing.model_construct(
            queue=route.queue, priority=route.priority, suggested_reply=best if score > 0 else None
        )


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file, or the one that ships.

    Raises:
        FatalError: the file is missing or does not fit; the message names it and the place.
    """
    source = path if path is not None else files("consumer") / "policy.toml"
    try:
        return Policy.model_validate(tomllib.loads(source.read_text("utf-8")))
    except OSError as error:
        raise FatalError(f"policy file {source}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise FatalError(f"policy file {source}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FatalError(f"policy file {source}: {where}: {first['msg']}") from error

"""One condition that a bundle must meet before it exists."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """One gate's figure against its limit."""

    name: str
    figure: float
    limit: float
    passed: bool
    detail: str = ""

    def as_parity(self) -> dict[str, Any]:
        """How the manifest records it."""
        return {"figure": self.figure, "limit": self.limit} | ({"detail": self.detail} if self.detail else {})


class GateError(Exception):
    """At least one gate failed; there is no bundle."""

    def __init__(self, gates: Iterable[Gate]) -> None:
        self.gates = tuple(gates)
        failed = ", ".join(
            f"{gate.name} {gate.figure:.4g} against {gate.limit:g}" for gate in self.gates if not gate.passed
        )
        super().__init__(f"no bundle was written, it fails: {failed}")

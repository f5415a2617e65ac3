"""The fast gradient method on word embeddings: what a model must still say when its input is pushed against it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

_SMALLEST_NORM: Final = 1e-12


class AdversarialStep:
    """Perturbs the output of a model's word embeddings along the gradient of its loss.

    Each text's perturbation has the length epsilon over all its tokens: Miyato, Dai & Goodfellow (2017), "Adversarial
    Training Methods for Semi-Supervised Text Classification", equation 2; the embeddings are not normalised here, so
    that epsilon is in their own units.
    """

    def __init__(self, model: nn.Module, epsilon: float) -> None:
        self._embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator, unused-ignore]
        self._epsilon = epsilon
        self._embedded: Tensor | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the gradient of the embeddings that are computed inside, once the loss goes backward."""
        with self._hooked(self._watch):
            yield

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Compute embeddings that are pushed along the gradient that was watched."""
        assert self._embedded is not None  # noqa: S101 (for mypy: `watched` came first)
        gradient = self._embedded.grad
        assert gradient is not None  # noqa: S101 (the loss went backward)
        norms = gradient.flatten(start_dim=1).norm(dim=1).clamp(min=_SMALLEST_NORM)
        step = self._epsilon * gradient / norms[:, None, None]
        with self._hooked(lambda _module, _inputs, output: output + step):
            yield
        self._embedded = None

    def _watch(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:  # noqa: ANN401 (torch's signature)
        if torch.is_grad_enabled():
            output.retain_grad()
            self._embedded = output

    @contextmanager
    def _hooked(self, hook: Any) -> Iterator[None]:  # noqa: ANN401 (torch's signature)
        handle = self._embeddings.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

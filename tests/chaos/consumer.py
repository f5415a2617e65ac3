"""`python -m tests.chaos.consumer`: the shipped `python -m consumer run`, with seams that obey the harness's orders.

Its settings are the consumer's. Three variables of the harness come on top, see `tests.chaos.orders`.
"""

import os
from functools import partial
from pathlib import Path

from consumer import __main__ as shipped
from consumer import app
from consumer.app import Consumer
from consumer.inference.classifier import Classifier
from consumer.settings import ConsumerSettings
from tests.chaos import mutants
from tests.chaos.orders import MAX_POLL_INTERVAL_VARIABLE, MUTATION_VARIABLE, ORDERS_VARIABLE, Orders
from tests.chaos.seams import Saboteur, SeamedLedger, SeamedTransport, install_clock, install_inference
from tests.inference.faults import FaultySession

_build = app.build


def build(settings: ConsumerSettings) -> Consumer:
    """The consumer with its seams."""
    saboteur = Saboteur(Orders(Path(os.environ[ORDERS_VARIABLE])))
    install_clock()
    install_inference(saboteur)
    app.Classifier = partial(Classifier, open_session=FaultySession)  # type: ignore[attr-defined, assignment]
    # Below what the settings allow, or a fault that outlasts it would take minutes.
    max_poll_interval_ms = int(os.environ[MAX_POLL_INTERVAL_VARIABLE])
    return _build(
        settings.model_copy(update={"max_poll_interval_ms": max_poll_interval_ms}),
        around_ledger=lambda ledger: SeamedLedger(ledger, saboteur),
        around_transport=lambda transport: SeamedTransport(transport, saboteur),
    )


if __name__ == "__main__":
    if mutation := os.environ.get(MUTATION_VARIABLE):
        mutants.apply(mutation)
    shipped.build = build  # type: ignore[attr-defined, assignment]
    shipped.app(["run"])

"""`python -m consumer dlq`: dead letters, as operators live with them."""

from typing import Annotated

import typer

from consumer.operations.session import err, operator_session
from consumer.sinks.dead_letter_history import DeadLetterHistory

app = typer.Typer(no_args_is_help=True, help="Dead letters.")


@app.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why the dead letters are expected; it is recorded.")],
    duration_s: Annotated[float, typer.Option(help="How long the limits rest, in seconds.", min=1)] = 3600,
) -> None:
    """Let a consumer go on that stopped because too many records became dead letters."""
    with operator_session() as session:
        DeadLetterHistory(session.database, session.facts.topic_id).accept(reason, duration_s)
    err.print(f"accepted for {duration_s:.0f} s: waiting consumers go on within a few seconds")

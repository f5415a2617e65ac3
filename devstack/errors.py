"""The one error that the stack raises."""


class DevstackError(Exception):
    """The stack could not do what was asked; the message says why and what to do."""

"""How publishing ends where it cannot do what was asked; every message says what to do."""


class PublishingError(Exception):
    """A server is away or refuses, storage is not as it should be, or a bundle may not be announced."""


class BadRequestError(PublishingError):
    """What was asked for makes no sense, whatever the servers say."""


class NothingThereError(PublishingError):
    """There is nothing to announce, withdraw or list."""

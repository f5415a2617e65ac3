"""Free TCP ports on the loopback interface."""

import random
import socket
from collections.abc import Collection

from devstack.errors import DevstackError

HOST = "127.0.0.1"

# Below the ranges that operating systems take for outgoing connections, so that a port is still free after a restart.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` now."""
    with socket.socket() as candidate:
        # As servers do: connections that linger after a stop do not count as taken.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(count: int, avoid: Collection[int] = ()) -> list[int]:
    """Choose ``count`` different free ports outside ``avoid``.

    Raises:
        DevstackError: No free ports were found.
    """
    chosen: list[int] = []
    # At random, because two stacks that start at once must not choose the same ones.
    for port in random.sample(_RANGE, _ATTEMPTS):
        if len(chosen) == count:
            return chosen
        if port not in avoid and is_free(port):
            chosen.append(port)
    raise DevstackError(
        f"Found no {count} free ports between {_RANGE.start} and {_RANGE.stop}; stop something and try again."
    )


def keep_or_replace(ports: list[int]) -> list[int]:
    """Return ``ports`` with each one that something else has taken meanwhile replaced by a free one."""
    replacements = iter(choose(len(ports), avoid=ports))
    return [port if is_free(port) else next(replacements) for port in ports]


def is_listening(port: int, timeout_s: float = 1.0) -> bool:
    """Tell whether something accepts connections on ``port``."""
    try:
        socket.create_connection((HOST, port), timeout_s).close()
    except OSError:
        return False
    return True

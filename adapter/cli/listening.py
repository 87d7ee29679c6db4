"""The socket that a command listens on: taken before anything else, so that one in use is said in a sentence."""

from __future__ import annotations

import socket

from adapter.errors import ConfigError


def listen(host: str, port: int, *, settings: str) -> socket.socket:
    """A bound TCP socket; port 0 is one that is free. `settings` are the names of what a person has to change.

    Raises:
        ConfigError: nobody can listen there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _refused(host, port, settings=settings, error=error) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _refused(host, port, settings=settings, error=error) from None
    return bound


def port_of(bound: socket.socket) -> int:
    """The port that it has."""
    port: int = bound.getsockname()[1]
    return port


def _refused(host: str, port: int, *, settings: str, error: Exception) -> ConfigError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return ConfigError(f"{settings}: nobody can listen on {host}, port {port}: {why}.")

"""TCP ports of 127.0.0.1, for servers that start on this machine.

Belongs here: finding a free one. Does not belong here: starting what listens on it.
"""

import socket

HOST = "127.0.0.1"


class NoFreePort(Exception):  # noqa: N818 - reads as the sentence it opens
    """Every port is taken; the message says what to do."""


def is_port_free(port: int) -> bool:
    """Whether a server can listen on this port now."""
    return _bind(port) is not None


def free_port(wanted: int | None = None) -> int:
    """A port without a listener: ``wanted`` if it has none, else one that the system picks.

    Another program can take the port before the caller binds it.

    Raises:
        NoFreePort: all are taken.
    """
    port = (_bind(wanted) if wanted else None) or _bind(0)
    if port is None:
        raise NoFreePort(f"No TCP port of {HOST} is free: close some programs and run this again.")
    return port


def _bind(port: int) -> int | None:
    with socket.socket() as probe:
        # A port whose last connections only wait to be forgotten is free for a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])

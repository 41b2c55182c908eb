"""Ports on loopback: keep the default, else choose a free one, else say who is in the way.

Between the choice of a port and the moment its server listens there are seconds, in which another instance's ``up``
must not choose it too: so a port is claimed before it is looked at, until the servers are up. From then on the
supervisor claims it, because a server that is just being started again does not listen either.
"""

import random
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Self

import psutil

from sentinela.errors import BadUse

HOST = "127.0.0.1"
# Below the range that kernels hand out for outgoing connections, so a chosen port stays free.
CHOICE = range(20_000, 32_000)
TRIES = 500


class Claims:
    """Ports of an instance that may have no listener; freed with the block or the process."""

    def __init__(self, shared: Collection[int] = ()) -> None:
        """Begin without any; those in ``shared`` are claimed already, by another process of the same instance."""
        self._held: dict[int, socket.socket] = {}
        self._shared = frozenset(shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for claim in self._held.values():
            claim.close()
        self._held.clear()

    def take(self, port: int) -> bool:
        """Claim a port; False if another process has."""
        if port in self._held or port in self._shared:
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            # A name without a file: it is the network's as the port is, and goes with its process however that ends.
            claim.bind(f"\0sentinela-port-{port}")
        except OSError:
            claim.close()
            return False
        self._held[port] = claim
        return True


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now, on loopback or on all addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection of an earlier server that still lingers does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return listener(port) is None


def listener(port: int) -> int | None:
    """Process id of who listens on the port; 0 when that process is not ours to see, None when nobody."""
    for connection in psutil.net_connections(kind="tcp"):
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port:
            return connection.pid or 0
    return None


def describe(port: int) -> str:
    """Who holds the port, in words."""
    pid = listener(port)
    if pid is None:
        return "a process that does not listen yet, such as another `sentinela up`"
    if not pid:
        return "a process that cannot be seen from here"
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command[:120]})"


def choose(
    wanted: Mapping[str, int],
    *,
    configured: Collection[str],
    ours: Callable[[str, int], bool],
    randomness: random.Random,
    claims: Claims,
) -> dict[str, int]:
    """The ports to use, by setting name.

    Args:
        wanted: Setting name to port, as configured, recorded or by default.
        configured: Names that somebody set by hand; these are never changed.
        ours: Whether the listener of a port is the very process that this setting is for.
        randomness: Where a replacement is drawn from.
        claims: Where the chosen ports are claimed; keep it until their servers listen.

    Raises:
        BadUse: a configured port is taken, or given twice.
    """
    chosen: dict[str, int] = {}
    # Configured ones first: a default gives way to them.
    for name in sorted(wanted, key=lambda name: name not in configured):
        port = wanted[name]
        is_claimed = port not in chosen.values() and claims.take(port)
        usable = is_claimed and (is_free(port) or ours(name, port))
        if not usable and name in configured:
            raise BadUse(_conflict(name, port, chosen, is_claimed=is_claimed))
        chosen[name] = port if usable else _draw(chosen, randomness, claims)
    return chosen


def _conflict(name: str, port: int, chosen: Mapping[str, int], *, is_claimed: bool) -> str:
    variable = f"SENTINELA_{name.upper()}"
    twin = next((other for other, taken in chosen.items() if taken == port), None)
    if twin:
        return f"{variable}={port} is also SENTINELA_{twin.upper()}; give them different ports"
    if not is_claimed:
        told = f"another `sentinela up` is just taking port {port}"
        return f"{variable}={port}: {told}; set another port, or unset {variable}"
    return f"{variable}={port}: port {port} is held by {describe(port)}; end it, set another port, or unset {variable}"


def _draw(chosen: Mapping[str, int], randomness: random.Random, claims: Claims) -> int:
    for _ in range(TRIES):
        port = randomness.choice(CHOICE)
        if port not in chosen.values() and claims.take(port) and is_free(port):
            return port
    raise BadUse(f"no free port found between {CHOICE.start} and {CHOICE.stop} in {TRIES} tries")

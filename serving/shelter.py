"""Where the service may listen: on loopback as it is; beyond it only sheltered.

What it listens on is BentoML's business and can be changed on its command line, so the kernel is asked, not a setting.
"""

from collections.abc import Iterable
from ipaddress import ip_address

import psutil


class Exposed(Exception):
    """The service would listen to strangers without shelter."""


def listening_hosts() -> set[str]:
    """Addresses that this process has listening sockets on, whoever opened them."""
    connections = psutil.Process().net_connections(kind="tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def require_shelter(hosts: Iterable[str], *, offers_test_accounts: bool, has_tls_in_front: bool) -> None:
    """Refuse to listen beyond loopback with test accounts, or where keys would travel in the clear.

    That there are keys is certain: without a key file the service does not start anywhere.

    Args:
        hosts: Addresses that the service listens on.
        offers_test_accounts: Whether accounts force an action here.
        has_tls_in_front: Whether the operator says that a proxy in front ends TLS.

    Raises:
        Exposed: With what to set.
    """
    beyond = sorted(host for host in hosts if not ip_address(host).is_loopback)
    if not beyond:
        return
    missing = []
    if offers_test_accounts:
        missing.append("SENTINELA_TEST_ACCOUNTS=false because this home is in local mode")
    if not has_tls_in_front:
        missing.append("SENTINELA_TLS_IN_FRONT=true once a proxy in front ends TLS")
    if missing:
        raise Exposed(f"the service listens on {', '.join(beyond)}; set {' and '.join(missing)}, or use 127.0.0.1")

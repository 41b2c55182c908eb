"""Accounts that force an action, so that a caller can try its own answers to each; in local mode only.

Local mode is a property of the settings (nothing of the instance is somebody else's) and of each request: it came in
over the loopback interface, and no proxy says that it came from farther away. A forced decision is committed and
published like any other, and names ``test_account`` among its rule hits.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import Scope

from pix.contracts import PaymentMessage

# No institution has this ISPB.
TEST_ACCOUNTS: Mapping[str, str] = {
    "99999999-0001-1": "ALLOW",
    "99999999-0001-2": "REVIEW",
    "99999999-0001-3": "BLOCK_AND_REVIEW",
    "99999999-0001-4": "BLOCK",
}
"""Payee's account -> action."""

_PROXIED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


def forced_action(message: PaymentMessage, scope: Scope, accounts: Mapping[str, str]) -> str | None:
    """The action that a payment's payee forces; None for every account but these, and outside local mode.

    Args:
        message: The payment, as it was sent.
        scope: Of the request that brought it.
        accounts: Payee's account -> action; empty where the settings are not local.
    """
    action = accounts.get(message.payee_account)
    return action if action is not None and _is_on_loopback(scope) else None


def _is_on_loopback(scope: Scope) -> bool:
    if any(name in _PROXIED for name, _ in scope["headers"]):
        return False
    return all(_is_loopback(scope.get(end)) for end in ("server", "client"))


def _is_loopback(end: tuple[str, int | None] | None) -> bool:
    try:
        return end is not None and ip_address(end[0]).is_loopback
    except ValueError:
        return False

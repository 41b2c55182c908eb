"""Where the service may listen."""

import socket
from contextlib import closing

import pytest

from serving.shelter import Exposed, listening_hosts, require_shelter


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.7", "::1"])
def test_loopback_needs_no_shelter(host: str) -> None:
    require_shelter([host], offers_test_accounts=True, has_tls_in_front=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "192.168.1.4", "2001:db8::1"])  # noqa: S104
def test_beyond_it_nothing_is_open(host: str) -> None:
    require_shelter(["127.0.0.1", host], offers_test_accounts=False, has_tls_in_front=True)
    for has_accounts, has_tls, told in ((True, True, "TEST_ACCOUNTS=false"), (False, False, "TLS_IN_FRONT=true")):
        with pytest.raises(Exposed, match=told):
            require_shelter(["127.0.0.1", host], offers_test_accounts=has_accounts, has_tls_in_front=has_tls)


def test_the_kernel_says_where_this_process_listens() -> None:
    before = listening_hosts()
    assert "0.0.0.0" not in before  # noqa: S104
    with closing(socket.socket()) as wide:
        wide.bind(("0.0.0.0", 0))  # noqa: S104
        wide.listen()
        assert listening_hosts() == before | {"0.0.0.0"}  # noqa: S104

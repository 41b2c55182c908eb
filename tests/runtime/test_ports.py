import random
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from sentinela.errors import BadUse
from sentinela.runtime import ports

Server = Callable[[int], "subprocess.Popen[bytes]"]


def nobody(name: str, port: int) -> bool:  # noqa: ARG001
    return False


def choose(
    wanted: dict[str, int],
    configured: tuple[str, ...] = (),
    ours: Callable[..., bool] = nobody,
    claims: ports.Claims | None = None,
) -> dict[str, int]:
    with ports.Claims() as own:
        randomness = random.Random(7)
        return ports.choose(wanted, configured=configured, ours=ours, randomness=randomness, claims=claims or own)


def listening(server: Server, port: int) -> "subprocess.Popen[bytes]":
    process = server(port)
    while ports.listener(port) is None:
        time.sleep(0.02)
    return process


def test_a_free_port_is_kept(port: int) -> None:
    assert choose({"kafka_port": port}) == {"kafka_port": port}


def test_a_taken_default_gives_way_to_a_free_port(port: int, server: Server) -> None:
    listening(server, port)
    chosen = choose({"kafka_port": port})["kafka_port"]
    assert chosen != port
    assert ports.is_free(chosen)


def test_a_taken_configured_port_names_port_and_holder(port: int, server: Server) -> None:
    process = listening(server, port)
    with pytest.raises(BadUse, match=f"SENTINELA_KAFKA_PORT={port}.*process {process.pid} .*http.server {port}"):
        choose({"kafka_port": port}, configured=("kafka_port",))


def test_a_port_that_our_own_process_holds_is_kept(port: int, server: Server) -> None:
    listening(server, port)
    assert choose({"kafka_port": port}, ours=lambda *_: True) == {"kafka_port": port}


def test_a_default_gives_way_to_a_configured_port_of_the_same_number(port: int) -> None:
    chosen = choose({"kafka_port": port, "mlflow_port": port}, configured=("mlflow_port",))
    assert chosen["mlflow_port"] == port
    assert chosen["kafka_port"] != port


def test_one_number_configured_twice_is_refused(port: int) -> None:
    with pytest.raises(BadUse, match="give them different ports"):
        choose({"kafka_port": port, "mlflow_port": port}, configured=("kafka_port", "mlflow_port"))


def test_two_that_choose_at_once_choose_different_ports(port: int) -> None:
    wanted = {"kafka_port": port, "mlflow_port": port}
    with ports.Claims() as claims, ports.Claims() as others:
        chosen, elsewhere = choose(wanted, claims=claims), choose(wanted, claims=others)
        assert len({*chosen.values(), *elsewhere.values()}) == 4
        assert chosen["kafka_port"] == port
        with pytest.raises(BadUse, match=f"another `sentinela up` is just taking port {port}"):
            choose(wanted, configured=("kafka_port",), claims=others)
    assert choose({"kafka_port": port}) == {"kafka_port": port}


def test_the_claims_of_a_killed_process_are_free(port: int) -> None:
    code = (
        "import sys; from sentinela.runtime.ports import Claims; claims = Claims(); "
        f"print(claims.take({port}), flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    with ports.Claims() as claims:
        assert not claims.take(port)
        holder.kill()
        holder.wait()
        assert claims.take(port)


def test_a_port_that_the_same_instance_claims_elsewhere_is_kept_and_no_other_takes_it(port: int) -> None:
    """The supervisor claims the ports of its home, also while a server of it is being started again."""
    with ports.Claims() as supervisor:
        assert supervisor.take(port)
        with ports.Claims({port}) as same_home:
            assert choose({"kafka_port": port}, claims=same_home) == {"kafka_port": port}
        assert choose({"kafka_port": port})["kafka_port"] != port

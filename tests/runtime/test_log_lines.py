"""Logs: one JSON object a line, whoever writes it, and nobody in it."""

import json
import logging
import os
import pty
import random
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from pix import log_lines
from pix.identifiers import cpf, valid_cnpj
from pix.redaction import redacted
from sentinela import leaks

SENTINELA = Path(sys.executable).with_name("sentinela")


@pytest.fixture
def out() -> Iterator[StringIO]:
    """What this process logs; the loggers are as they were afterwards."""
    names = [None, *log_lines.OURS]
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level) for name in names}
    root_before = logging.getLogger().level
    stream = StringIO()
    log_lines.configure("serving", stream)
    yield stream
    for name, (handlers, level) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).setLevel(level)
    logging.getLogger().setLevel(root_before)
    log_lines.about()


def lines(out: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_when_how_bad_what_and_about_whom(out: StringIO) -> None:
    log_lines.about(trace_id="ab" * 16, request_id="r-1")
    logging.getLogger("serving.correlation").warning(
        "answered %s", "late", extra={"route": "GET /v1/model", "status": 200, "duration_ms": 1234.5}
    )
    (line,) = lines(out)
    assert list(line)[:8] == ["time", "level", "process", "event", "trace_id", "request_id", "route", "status"]
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "warning", "process": "serving", "event": "answered late", "trace_id": "ab" * 16, "request_id": "r-1",
        "route": "GET /v1/model", "status": 200, "duration_ms": 1234.5, "logger": "serving.correlation",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*log_lines.OURS, "some.library"])
def test_libraries_write_once_in_the_same_form(out: StringIO, name: str) -> None:
    logging.getLogger(name).error("went %s", "wrong")
    (line,) = lines(out)
    assert (line["event"], line["level"]) == ("went wrong", "error")


def test_an_exception_is_one_line_without_the_values_in_it(out: StringIO) -> None:
    try:
        raise ValueError(f"cannot pay {cpf('529982247')} to maria@example.com")
    except ValueError:
        logging.getLogger("serving").exception("failed")
    (line,) = lines(out)
    assert "ValueError: cannot pay [CPF] to [EMAIL]" in str(line["exception"])


def test_numbers_and_nested_values_are_looked_at(out: StringIO) -> None:
    hidden = {"who": ["+5511987654321", 52998224725], 12345678909: {"n": 7}}
    logging.getLogger("x").warning("told", extra={"told": hidden, "count": 12345})
    (line,) = lines(out)
    assert line["told"] == {"who": ["[PHONE]", "[CPF]"], "[CPF]": {"n": 7}}
    assert line["count"] == 12345


def test_a_callers_request_id_stays_unless_it_is_somebodys(out: StringIO) -> None:
    uuid = "6f2b1c34-8d8e-4c7a-9b55-0d9a5b1c2e3f"
    for given in (uuid, "52998224725"):
        log_lines.about(request_id=given)
        logging.getLogger("x").warning("asked with %s", uuid)
    assert [line["request_id"] for line in lines(out)] == [uuid, "[CPF]"]
    assert {line["event"] for line in lines(out)} == {"asked with [EVP]"}


def test_lines_that_come_by_the_thousand_are_counted_and_left_out() -> None:
    ration = log_lines.Ration(2)
    assert [ration.take(now) for now in (7.0, 7.1, 7.2, 7.9, 8.0, 8.1, 9.5)] == [0, 0, None, None, 2, 0, 0]


def _identifiers(draw: random.Random) -> list[str]:
    hexadecimal = f"{draw.getrandbits(128):032x}"
    cnpj = next(
        text
        for number in iter(lambda: draw.randrange(10**12), -1)
        for check in range(100)
        if valid_cnpj(text := f"{number:012d}{check:02d}")
    )
    name = "".join(draw.choices("abcdefgh.0123_-", k=draw.randint(1, 20))).strip(".") or "a"
    return [
        cpf(f"{draw.randrange(10**9):09d}"),
        cnpj,
        "12ABC34501DE35",
        f"+55{draw.randrange(11, 99)}9{draw.randrange(10**8):08d}",
        f"{name}@{draw.choice(['example.com', 'banco.com.br', 'x'])}",
        "-".join([hexadecimal[:8], hexadecimal[8:12], hexadecimal[12:16], hexadecimal[16:20], hexadecimal[20:]]),
        f"{draw.randrange(10**8):08d}-{draw.randrange(10**4):04d}-{draw.randrange(1, 10**13)}",
    ]


def test_no_clear_identifier_comes_through_whatever_stands_around_it(tmp_path: Path) -> None:
    """Looked for as `sentinela leaks` looks for them."""
    draw = random.Random(11)
    around = [" ", '"', "=", ":", "/", "|", ",", "(", "\n", "x", "é", "-", "."]
    for _ in range(150):
        values = _identifiers(draw)
        fields = dict(zip(leaks.CLEAR_FIELDS, draw.sample(values, len(leaks.CLEAR_FIELDS)), strict=True))
        sent = tmp_path / "sent.jsonl"
        sent.write_text(json.dumps(fields))
        needles = leaks.clear_identifiers([sent])
        text = "".join(f"{draw.choice(around)}{value}{draw.choice(around)}" for value in fields.values())
        result = leaks.Searched(len(needles))
        leaks._search_bytes(redacted(text).encode(), "log", needles, result)
        assert result.found == {}, (text, redacted(text))


@pytest.mark.parametrize(
    "text",
    [
        "generation 3 was built in 12345678901 ns",
        "pix.decisions partition 3 begins at offset 184467440737",
        "E12345678202611211230abcdefghijk: lost 100 races",
        "2026-11-21T09:30:15.120-03:00",
        "no answer from http://127.0.0.1:3000/v1/decisions:batch: ConnectError('refused')",
        "5f1d0c6e7b8a9c0d1e2f3a4b5c6d7e8f",
        "52998224725".rjust(32, "0"),
        "of layout 11, this build reads 12",
    ],
)
def test_what_operators_need_stays(text: str) -> None:
    assert redacted(text) == text


def test_formatted_identifiers_are_seen_too() -> None:
    told = "CPF 529.982.247-25, CNPJ 12.ABC.345/01DE-35, chave %2B5511987654321"
    assert redacted(told) == "CPF [CPF], CNPJ [CNPJ], chave [PHONE]"


def test_a_line_is_readable_again() -> None:
    told = {"time": "2026-11-21T12:00:00Z", "level": "error", "process": "serving", "event": "failed", "status": 500}
    line = json.dumps({**told, "exception": "T\nE"})
    assert log_lines.readable(line) == "2026-11-21T12:00:00Z ERROR    failed  status=500\nT\nE\n"
    for other in ("plain text\n", "[1, 2]\n", '{"time": 1}\n', "{broken\n"):
        assert log_lines.readable(other) == other


def test_sentinela_logs_is_readable_on_a_terminal_and_json_into_a_pipe(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "serving.log"
    log.parent.mkdir()
    line = '{"time":"2026-11-21T12:00:00Z","level":"warning","event":"late","route":"GET /v1/model"}\n'
    log.write_text(line)
    told = {"env": os.environ | {"SENTINELA_HOME": str(tmp_path)}, "stderr": subprocess.DEVNULL}
    piped = subprocess.run([SENTINELA, "logs", "serving"], stdout=subprocess.PIPE, text=True, **told)  # type: ignore[call-overload]
    assert piped.stdout == line
    ours, theirs = pty.openpty()
    subprocess.run([SENTINELA, "logs", "serving"], stdout=theirs, **told)  # type: ignore[call-overload]
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert shown.split() == ["2026-11-21T12:00:00Z", "WARNING", "late", "route=GET", "/v1/model"]

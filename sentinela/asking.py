"""What commands ask of the running decision service and of Kafka, with errors that say what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sentinela.runtime.home import Home
    from serving.operator import Operator

Answer = TypeVar("Answer")


def asked(question: "Callable[[Operator], Answer]") -> Answer:
    """What the service answers.

    Raises:
        NotRunning: It does not answer, or was never started.
        SentinelaError: It refuses; the message is the service's.
    """
    from sentinela import configuration
    from sentinela.errors import NotRunning, SentinelaError
    from serving.operator import NoAnswer, NotDone, Operator

    settings, home = configuration.current()
    try:
        api_key = (settings.secrets / "api-key").read_text().strip()
    except OSError as missing:
        raise NotRunning(never_started(home)) from missing
    try:
        return question(Operator(settings.service, api_key))
    except NoAnswer as away:
        raise NotRunning(str(away)) from away
    except NotDone as refused:
        raise SentinelaError(str(refused)) from refused


def never_started(home: "Home") -> str:
    """What to tell of a home without keys."""
    return f"nothing was ever started in {home.root}; run `sentinela up`, or set SENTINELA_HOME to where it runs"


@contextmanager
def kafka_asked() -> Iterator[None]:
    """What goes wrong between this command and Kafka, as the command's own error.

    Raises:
        NotRunning: No broker answers, a topic is not there, or the home has no keys.
        SentinelaError: Kafka deleted what was being read.
    """
    from fraud_streaming.kafka import StreamError
    from fraud_streaming.ranges import RangeGone
    from pix.tokens import MissingKeys
    from sentinela.errors import NotRunning, SentinelaError

    try:
        yield
    except RangeGone as gone:
        raise SentinelaError(str(gone)) from gone
    except (StreamError, MissingKeys) as away:
        raise NotRunning(str(away)) from away

"""What commands ask of the running decision service, with errors that say what to do."""

from collections.abc import Callable
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

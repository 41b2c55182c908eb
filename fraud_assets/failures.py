"""A failed run begins with the sentence that says why, and what to do.

Errors of our own packages are sentences already; Dagster would print them under its own. Anything else is
a fault of ours and keeps its stack trace on top.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import dagster as dg

OWN_PACKAGES = frozenset({"pix", "quality", "learning", "fraud_streaming", "fraud_assets"})

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def told(body: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let an asset or check fail with the sentence of the error that stopped it."""

    @wraps(body)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return body(*args, **kwargs)
        except Exception as error:
            if not is_sentence(error):
                raise
            raise dg.Failure(description=str(error), allow_retries=False) from error

    return run


def is_sentence(error: BaseException) -> bool:
    """Whether the error is one of ours."""
    return type(error).__module__.partition(".")[0] in OWN_PACKAGES

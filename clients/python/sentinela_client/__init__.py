"""Client of Sentinela's decision API.

    with Client("https://decisions.example", key) as sentinela:
        decision = sentinela.decide(payment)

Errors are drawn in ``sentinela_client.errors``.
"""

from sentinela_client.asynchronous import AsyncClient
from sentinela_client.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidRequest,
    NoAnswer,
    Problem,
    RateLimited,
    SentinelaError,
    Unauthorised,
    Unavailable,
    Unknown,
)
from sentinela_client.synchronous import Client
from sentinela_client.types import Decision, Hold, Model, Payment, Reason

__all__ = [
    "AsyncClient",
    "Client",
    "Conflict",
    "Decision",
    "FieldProblem",
    "Forbidden",
    "Hold",
    "InvalidRequest",
    "Model",
    "NoAnswer",
    "Payment",
    "Problem",
    "RateLimited",
    "Reason",
    "SentinelaError",
    "Unauthorised",
    "Unavailable",
    "Unknown",
]

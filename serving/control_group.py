"""Payments that go on by chance although the score would stop them, so that it is known what became of such payments.

Who is stopped has no outcome, and a model that never sees one learns only from what it let go. Chance is drawn from the
payment's own ids and the token of its payer's account: whoever re-runs the decision draws the same, and nobody without
the key of the tokens can choose ids that are drawn. (Randomised exploration against selective labels: H. Lakkaraju et
al., The Selective Labels Problem, KDD 2017.)
"""

from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

from pix.contracts import Payment

BITS = 53
"""As many as a float64 holds exactly, so that no number is rounded up to 1."""


@dataclass(frozen=True, slots=True)
class ControlTerms:
    """Who may be drawn.

    Attributes:
        share: Of the payments that the score alone would stop, above 0.
        up_to_cents: Greater amounts are never let go by chance.
    """

    share: float
    up_to_cents: int


@dataclass(frozen=True, slots=True)
class Control:
    """A payment that could have been drawn.

    Attributes:
        propensity: Chance that it had.
        instead_of: Action that the score asked for.
        drawn: Whether it was; then it was reviewed instead.
    """

    propensity: float
    instead_of: str
    drawn: bool

    def described(self) -> dict[str, Any]:
        """As it stands on the record."""
        return asdict(self)


def draw(payment: Payment) -> float:
    """A payment's number, evenly spread from 0 to below 1.

    Args:
        payment: Behind the door: its account is a token.
    """
    told = f"{payment.tenant}|{payment.end_to_end_id}|{payment.payer_account}".encode()
    found = int.from_bytes(blake2b(told, digest_size=8, person=b"control group").digest())
    return (found >> (64 - BITS)) / float(1 << BITS)

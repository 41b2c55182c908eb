"""The shadow score: what the challenger would have said of a decided payment, on ``pix.shadow``.

Written by ``serving.shadow`` after the decision is final, at most once and not for every payment: it judges the
challenger, never a payment. The champion's score stands in the decision of the same identity.
"""

from pydantic import Field

from pix.contracts.decision import ModelIdentity
from pix.contracts.fields import EndToEndId, InstantMs, StrictMessage, Tenant


class ShadowScore(StrictMessage):
    """The challenger's score of one payment that the champion decided."""

    end_to_end_id: EndToEndId = Field(description="EndToEndId of the decided payment.")
    tenant: Tenant = Field(description="Its tenant.")
    model: ModelIdentity = Field(description="The challenger.")
    raw_score: float = Field(description="Its log-odds of fraud before calibration.")
    fraud_probability: float = Field(ge=0, le=1, description="Its calibrated probability of fraud.")
    scored_at_ms: InstantMs = Field(description="When it scored, epoch milliseconds.")

"""What goes in and comes out.

``Payment`` has the fields of the contract (contracts/payment.schema.json), which a test holds it to. Answers are read
by the fields that are known here; what a later service adds stands in ``raw``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

Action = Literal["ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK"]


class Payment(TypedDict):
    """A payment to decide; what is not known is left out, never guessed."""

    end_to_end_id: str
    initiated_at: str
    amount_cents: int
    payer_account: str
    payee_account: str
    tenant: NotRequired[str]
    initiation: NotRequired[Literal["MANU", "DICT", "QRDN", "QRES", "AUTO", "INIC", "APES", "APDN"] | None]
    purpose: NotRequired[Literal["IPAY", "GSCB", "OTHR"] | None]
    priority: NotRequired[Literal["HIGH", "NORM"] | None]
    txid: NotRequired[str | None]
    pix_key: NotRequired[str | None]
    pix_key_type: NotRequired[Literal["CPF", "CNPJ", "PHONE", "EMAIL", "EVP"] | None]
    payer_tax_id: NotRequired[str | None]
    payee_tax_id: NotRequired[str | None]
    payer_person_type: NotRequired[Literal["PF", "PJ"] | None]
    payee_person_type: NotRequired[Literal["PF", "PJ"] | None]
    payer_account_type: NotRequired[Literal["CACC", "SVGS", "TRAN", "SLRY", "OTHR"] | None]
    payee_account_type: NotRequired[Literal["CACC", "SVGS", "TRAN", "SLRY", "OTHR"] | None]
    payer_age_years: NotRequired[int | None]
    payer_municipality: NotRequired[str | None]
    key_created_at: NotRequired[str | None]
    key_owned_since: NotRequired[str | None]
    payer_account_opened_at: NotRequired[str | None]
    payee_account_opened_at: NotRequired[str | None]
    payee_settlements_d90: NotRequired[int | None]
    payee_fraud_markers_d90: NotRequired[int | None]
    payee_mule_markers_d90: NotRequired[int | None]
    payee_fraud_reporters_d90: NotRequired[int | None]
    payee_rejected_reports_d90: NotRequired[int | None]
    payee_open_reports: NotRequired[int | None]
    fraud_markers_watermark: NotRequired[str | None]
    payee_is_preregistered: NotRequired[bool | None]
    device_id: NotRequired[str | None]
    device_registered_at: NotRequired[str | None]
    device_ip: NotRequired[str | None]
    device_municipality: NotRequired[str | None]
    device_remote_access: NotRequired[bool | None]
    device_rooted: NotRequired[bool | None]
    active_call: NotRequired[bool | None]
    authentication: NotRequired[Literal["PASSWORD", "BIOMETRY", "TOKEN"] | None]
    login_age_ms: NotRequired[int | None]
    typing_interval_ms: NotRequired[int | None]
    credentials_changed_at: NotRequired[str | None]
    payer_balance_cents: NotRequired[int | None]
    payer_limit_cents: NotRequired[int | None]
    limit_raised_at: NotRequired[str | None]
    funds_raised_at: NotRequired[str | None]
    remittance_text: NotRequired[str | None]


@dataclass(frozen=True)
class Reason:
    """Why a payment was not simply allowed.

    Attributes:
        code: Stable.
        text: Language (``pt-BR``, ``en``) -> text for people.
        contribution: What it adds to the raw score.
    """

    code: str
    text: Mapping[str, str]
    contribution: float


@dataclass(frozen=True)
class Model:
    """The model that scored."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Hold:
    """How long the payment waits for a person.

    Attributes:
        expires_at: When it ends.
        outcome: What happens if nobody decided until then.
    """

    expires_at: datetime
    outcome: Literal["ALLOW", "BLOCK"]


@dataclass(frozen=True)
class Decision:
    """What was decided.

    Attributes:
        action: What to do with the payment.
        fraud_probability: None where no model scored.
        mode: ``normal``, or ``degraded:`` and what was missing.
        hold: None where the payment does not wait.
        is_deferred: The decision is safe on disk and reaches Kafka later.
        raw: The whole answer.
    """

    end_to_end_id: str
    action: Action
    fraud_probability: float | None
    reasons: tuple[Reason, ...]
    rule_hits: tuple[str, ...]
    model: Model | None
    policy_version: str
    mode: str
    decided_at: datetime
    trace_id: str
    hold: Hold | None = None
    is_deferred: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def goes_on(self) -> bool:
        """Whether the payment is made now; a review of it may follow."""
        return self.action in ("ALLOW", "REVIEW")

    @staticmethod
    def of(content: Mapping[str, Any], *, is_deferred: bool = False) -> "Decision":
        """Read an answer.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        model, hold = content["model"], content.get("hold")
        return Decision(
            end_to_end_id=content["end_to_end_id"],
            action=content["action"],
            fraud_probability=content["fraud_probability"],
            reasons=tuple(Reason(each["code"], each["text"], each["contribution"]) for each in content["reasons"]),
            rule_hits=tuple(content["rule_hits"]),
            model=Model(model["name"], model["version"], model["sha256"]) if model else None,
            policy_version=content["policy_version"],
            mode=content["mode"],
            decided_at=datetime.fromisoformat(content["decided_at"]),
            trace_id=content["trace_id"],
            hold=Hold(datetime.fromisoformat(hold["expires_at"]), hold["outcome"]) if hold else None,
            is_deferred=is_deferred,
            raw=content,
        )

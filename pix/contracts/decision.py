"""The decision record: what the service commits, publishes on ``pix.decisions`` and never changes.

The bytes are canonical JSON, written by ``serving.pipeline``; this model is their schema, and the hot path
never passes through it. Every field is always there; only missing facts of the payment are left out.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, create_model

from pix.contracts.fields import EndToEndId, Instant, InstantMs, Sha256, StrictMessage, Tenant, Token
from pix.contracts.payment import INSTANT_FIELDS, PaymentMessage
from pix.contracts.tokenised import TOKEN_KINDS

Action = Literal["ALLOW", "REVIEW", "BLOCK_AND_REVIEW", "BLOCK"]
Role = Literal["payer_account", "payee_account", "pair", "device", "payer_person", "payee_person"]
ShortHash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


def _tokenised(name: str) -> Any:
    """Type and description of a payment's field behind the door."""
    clear = PaymentMessage.model_fields[name]
    default: Any = ... if clear.is_required() or name == "tenant" else None
    if name in TOKEN_KINDS:
        kind: Any = Token if clear.is_required() else Token | None
        return kind, Field(default, description=f"Token of: {clear.description}")
    if name in INSTANT_FIELDS:
        kind = InstantMs if clear.is_required() else InstantMs | None
        return kind, Field(default, description=f"{clear.description} Epoch milliseconds.")
    rules = Annotated[clear.annotation, *clear.metadata] if clear.metadata else clear.annotation
    return rules, Field(default, description=clear.description)


TokenisedPayment = create_model(
    "TokenisedPayment",
    __base__=StrictMessage,
    __doc__="The payment behind the door; a fact that is missing is left out.",
    **{INSTANT_FIELDS.get(name, name): _tokenised(name) for name in PaymentMessage.model_fields},
)


def checked_payment(content: dict[str, Any]) -> dict[str, Any]:
    """The content itself, if it is a payment behind the door."""
    TokenisedPayment.model_validate(content)
    return content


class ReasonText(StrictMessage):
    """A reason in words for a person; teaches no evasion."""

    pt_br: str = Field(alias="pt-BR", description="In Portuguese.")
    en: str = Field(description="In English.")


class Reason(StrictMessage):
    """One thing that a rule which hit speaks for, or that raised the score."""

    code: str = Field(pattern=r"^[A-Z_]{1,40}$", description="Stable code of the reason.")
    text: ReasonText = Field(description="What it says, by language.")
    contribution: float = Field(
        description="What its features add to the raw score, log-odds; 0 or less only for a rule that hit."
    )


class ModelIdentity(StrictMessage):
    """The model that scored, down to its bytes."""

    name: str = Field(min_length=1, description="Name in the registry.")
    version: str = Field(min_length=1, description="Version in the registry.")
    sha256: Sha256 = Field(description="SHA-256 of the model file.")


class Hold(StrictMessage):
    """A decision that waits for a person, and what happens if nobody looks at it."""

    expires_at: Instant = Field(description="When the hold ends by itself.")
    outcome: Literal["ALLOW", "BLOCK"] = Field(description="What happens to the payment then.")


class ControlGroup(StrictMessage):
    """A payment that the score alone would stop, and that chance could let go on to be reviewed instead."""

    propensity: float = Field(gt=0, le=1, description="Chance that it had.")
    instead_of: Literal["BLOCK_AND_REVIEW", "BLOCK"] = Field(description="Action that the score asked for.")
    drawn: bool = Field(description="Whether it was let go on.")


class EntityState(StrictMessage):
    """Which state of one entity a record read, and which it wrote."""

    key: str = Field(min_length=1, description="Key of the state: tenant, kind and token.")
    read: int = Field(ge=0, description="Number of the state that was read; 0 if there was none.")
    got: int = Field(ge=1, description="Number of the state that was written.")


class DecidedState(StrictMessage):
    """Which state of one entity a decision read, and which it wrote; neither if the online store was away."""

    key: str = Field(min_length=1, description="Key of the state: tenant, kind and token.")
    read: int | None = Field(ge=0, description="Number of the state that was read; 0 if there was none.")
    got: int | None = Field(ge=1, description="Number of the state that was written.")


class RestOrigin(StrictMessage):
    """The payment came by REST."""

    kind: Literal["rest"] = Field(description="rest")
    client: str = Field(min_length=1, description="Client that asked.")


class KafkaOrigin(StrictMessage):
    """The payment came by Kafka."""

    kind: Literal["kafka"] = Field(description="kafka")
    topic: str = Field(min_length=1, description="Topic of the message.")
    partition: int = Field(ge=0, description="Its partition.")
    offset: int = Field(ge=0, description="Its offset.")


class CarriedFact(StrictMessage):
    """A fact of one account that is folded into the states of the other side."""

    value: bool | None = Field(description="Whether it was flagged: known frauds received in 90 days; null if unread.")
    read: int | None = Field(ge=0, description="Number of the account's state that said so; null if unread.")


class CarriedFacts(StrictMessage):
    """First order only: they are read from labels, which carry nothing."""

    payer_flagged: CarriedFact = Field(description="The payer's account was flagged.")
    payee_flagged: CarriedFact = Field(description="The payee's account was flagged.")


class DecisionRecord(StrictMessage):
    """One payment, decided: what was known, what was concluded, and from what. Its bytes are final."""

    end_to_end_id: EndToEndId = Field(description="EndToEndId: with the tenant, the payment's identity.")
    tenant: Tenant = Field(description="Institution on whose behalf it was decided.")
    action: Action = Field(description="What the policy asks for: the most severe of all that applied.")
    fraud_probability: float | None = Field(ge=0, le=1, description="By the model; null without a model.")
    raw_score: float | None = Field(description="Log-odds of fraud before they became a probability.")
    reasons: list[Reason] = Field(
        max_length=3, description="First what rules that hit say, then what raised the score."
    )
    rule_hits: list[str] = Field(
        description="Names of the policy's rules and lists that hit, in the order they were asked; last, test_account "
        "where one forced it."
    )
    hold: Hold | None = Field(None, description="Until when it waits for a person; null if it does not.")
    model: ModelIdentity | None = Field(description="The model that scored; null if none was there.")
    feature_fingerprint: ShortHash = Field(description="Hash of the feature declarations.")
    features: list[float | None] = Field(description="The feature vector, in the order of the declarations.")
    carried: CarriedFacts = Field(description="What the accounts' states said, folded on the other side.")
    policy_version: ShortHash = Field(description="Hash of the policy file.")
    mode: str = Field(
        pattern=r"^(normal|degraded:[a-z_]{1,40})$", description="normal, or degraded by what is missing."
    )
    outcome: Literal["allowed", "attempted"] = Field(description="attempted if the payment was held or blocked.")
    control_group: ControlGroup | None = Field(
        None, description="What chance said, where it could have let the payment go on; null elsewhere."
    )
    decided_at: Instant = Field(description="When it was decided.")
    decided_at_ms: InstantMs = Field(description="The same in epoch milliseconds.")
    event_time_ms: InstantMs = Field(description="The earlier of initiation and receipt; every window uses it.")
    received_at_ms: InstantMs = Field(description="When the message came in, epoch milliseconds.")
    payment: Annotated[
        dict[str, Any], AfterValidator(checked_payment), WithJsonSchema(TokenisedPayment.model_json_schema())
    ] = Field(description="The payment that was decided, tokenised.")
    payment_digest: Sha256 = Field(
        description="SHA-256 of the canonical tokenised payment; tells retries from conflicts."
    )
    body_token: Token = Field(description="Token of the SHA-256 of the message as it was sent.")
    states: dict[Role, DecidedState] = Field(description="By role, which states were read and written.")
    generation: int = Field(ge=0, description="How many imports of history the store's base held.")
    store_generation: int = Field(0, ge=0, description="Number of the online store's generation.")
    origin: RestOrigin | KafkaOrigin = Field(discriminator="kind", description="Where the payment came from.")
    trace_id: str = Field(pattern=r"^[0-9a-f]{32}$", description="Trace of the request.")
    build: str = Field(min_length=1, description="Version of the software that decided.")
    token_key_version: int = Field(ge=1, description="Key version of the tokens in this record.")

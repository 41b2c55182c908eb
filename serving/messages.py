"""What the API takes and answers beyond the topics' messages, as models.

Small requests are parsed with them. Answers are written as canonical JSON on the hot path and never pass through
here: their models are what the OpenAPI document says, and tests hold every answer against it.
"""

from typing import Any, Literal

from pydantic import Field, create_model

from pix.contracts import DecisionRecord, FoldRecord
from pix.contracts.decision import Action, ModelIdentity, ShortHash
from pix.contracts.fields import Instant as InstantText
from pix.contracts.fields import InstantMs, Sha256, StrictMessage
from pix.contracts.label import FraudType
from pix.tracecontext import PATTERN
from serving.policy_file import Source
from serving.policy_lists import ListName
from serving.records import PUBLIC_FIELDS

# More than this fits neither Delta's versions nor a generation's number.
MAX_NUMBER = 2**31 - 1


def _public(name: str) -> Any:
    field = DecisionRecord.model_fields[name]
    return field.annotation, field


Decision = create_model(
    "Decision",
    __base__=StrictMessage,
    __doc__="What was decided on a payment. Its bytes never change.",
    **{name: _public(name) for name in PUBLIC_FIELDS},
)


class DryRun(Decision):
    """What would be decided now. Nothing was stored or published."""

    dry_run: Literal[True] = Field(description="It is no decision.")


class KafkaArrival(StrictMessage):
    """Where a payment of a batch lies in Kafka, for the scoring job."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="Topic of the message.")
    partition: int = Field(ge=0, le=MAX_NUMBER, description="Its partition.")
    offset: int = Field(ge=0, le=2**63 - 1, description="Its offset.")
    received_at_ms: InstantMs = Field(description="When Kafka got it, epoch milliseconds.")
    body_sha256: Sha256 = Field(description="SHA-256 of its bytes.")
    traceparent: str | None = Field(
        None, pattern=PATTERN, description="Its header of that name, W3C Trace Context: the decision joins that trace."
    )


class Feedback(StrictMessage):
    """An analyst's verdict on a decision."""

    kind: Literal["confirmed", "dismissed"] = Field(description="The payment was a fraud, or was none.")
    fraud_type: FraudType | None = Field(None, description="Kind of fraud, by the MED's list.")
    known_at: InstantText | None = Field(
        None,
        description="When the analyst knew. Left out, it is the time of the decision, so that the same verdict sent "
        "again is the same label. Needed for decisions older than 8 days, and to give a verdict again that was "
        "withdrawn since.",
    )


class Rebuild(StrictMessage):
    """An order to build the online store's next generation."""

    version: int | None = Field(None, ge=0, le=MAX_NUMBER, description="Delta version of the base; null: the newest.")
    force: bool = Field(True, description="Build also where the generation in use is of the same history.")
    accept_gaps: bool = Field(False, description="Fold over missing folds; how many keys that cost is kept.")


class RollBack(StrictMessage):
    """An order to return to a retired generation."""

    generation: int | None = Field(None, ge=1, le=MAX_NUMBER, description="Its number; null: the newest retired one.")


class Started(StrictMessage):
    """A build that was ordered; ``GET /v1/store`` follows it."""

    generation: int = Field(ge=0, description="Number of the generation.")
    already_built: bool = Field(description="It is in use already; nothing is built.")


class GenerationIdentity(StrictMessage):
    """What a generation is made of, beside the live folds."""

    imports: int = Field(ge=0, description="How many imports of history its base holds.")
    base_version: int | None = Field(description="Delta version of its base; null without one.")
    layout: str = Field(description="Layout of its blobs.")
    token_key_version: int = Field(description="Key version of the tokens in new keys.")


class GenerationStatus(StrictMessage):
    """One generation of the online store and how far it is."""

    number: int = Field(ge=0, description="1, 2, ...")
    identity: GenerationIdentity = Field(description="What it is made of.")
    state: Literal["building", "active", "fenced", "retired", "failed"] = Field(description="What it is good for.")
    step: str = Field(description="What its builder does now.")
    done: int = Field(ge=0, description="Of that, how much.")
    total: int = Field(ge=0, description="Of how much; 0 if that is unknown.")
    builder: str = Field(description="Who builds it; empty when nobody does.")
    lease_until_ms: int = Field(description="The builder is taken for dead after this, epoch milliseconds.")
    problem: str = Field(description="Why it failed.")
    complete_to: dict[str, dict[str, int]] = Field(description="By topic and partition, the logs' end it knows.")
    gaps: int = Field(ge=0, description="Keys whose missing folds were accepted.")


BreakerState = Literal["closed", "half-open", "open"]


class Breakers(StrictMessage):
    """Whether this worker waits for its neighbours: closed if it does, open while it does not."""

    store: BreakerState = Field(description="Around the online store.")
    broker: BreakerState = Field(description="Around Kafka.")


class StoreStatus(StrictMessage):
    """What the online store holds."""

    generation: int | None = Field(ge=0, description="Number of the generation in use; null if it does not answer.")
    layout: str = Field(description="Layout of the states that this build reads.")
    states: int | None = Field(ge=0, description="Keys with a state; null if it does not answer.")
    unpublished: int | None = Field(ge=0, description="Records that wait for Kafka; null if it does not answer.")
    problem: str | None = Field(description="Why it cannot be used now; null if it can.")
    mode: Literal["normal", "degraded:store"] = Field(description="Whether payments are decided with the store.")
    outage: str | None = Field(description="Why they are decided without it; null if they are not.")
    warnings: list[str] = Field(description="What an operator should change about the store.")
    breakers: Breakers = Field(description="Circuit breakers of this worker.")
    generations: list[GenerationStatus] = Field(description="Every generation that is known, oldest first.")


class HeldModel(ModelIdentity):
    """A model as this worker holds it."""

    feature_fingerprint: ShortHash = Field(description="Hash of the feature declarations that it was trained on.")
    members: list[str] = Field(description="Members of the ensemble.")
    loaded_at_ms: InstantMs = Field(description="When it was loaded, epoch milliseconds.")
    source: Literal["registry", "cache"] = Field(description="Named by the registry, or kept on disk since it did.")


class ModelStatus(StrictMessage):
    """The champion that serves, and the challenger that is scored beside it."""

    model: HeldModel | None = Field(description="The champion; null while there is none and rules decide alone.")
    challenger: HeldModel | None = Field(description="The challenger; null while there is none.")
    feature_fingerprint: ShortHash = Field(description="Hash of the feature declarations of this build.")


class PolicyRule(StrictMessage):
    """One rule of the policy."""

    name: str = Field(description="As it stands among the rule hits.")
    when: str = Field(description="Its condition, in CEL over features and facts of the payment.")
    action: Action = Field(description="What it asks for.")


class PolicySegment(StrictMessage):
    """Payments with thresholds of their own."""

    name: str = Field(description="Of the segment.")
    when: str = Field(description="Which payments belong to it, in CEL.")
    thresholds: dict[str, float] = Field(description="Fraud probability from which each action applies.")


class HoldTerms(StrictMessage):
    """How long decisions of one action wait for a person."""

    minutes_by_day: int = Field(ge=1, description="On a day of business, from 6 h to 20 h in Brasilia.")
    minutes_otherwise: int = Field(ge=1, description="At night, on weekends and holidays.")
    outcome: Literal["ALLOW", "BLOCK"] = Field(description="What happens to the payment if nobody looked at it.")


class ControlGroupTerms(StrictMessage):
    """Which payments go on by chance although the score alone would stop them."""

    share: float = Field(gt=0, le=0.1, description="Of such payments.")
    up_to_cents: int = Field(ge=1, description="Greatest amount of one, in centavos.")


class PolicyStatus(StrictMessage):
    """The policy that applies."""

    version: ShortHash = Field(description="Beginning of the SHA-256 of its text.")
    priority: list[Source] = Field(description="Who is asked; below an allow list that hits, nobody.")
    thresholds: dict[str, float] = Field(
        description="Fraud probability from which each action applies, for payments of no segment."
    )
    segments: list[PolicySegment] = Field(description="The first that a payment belongs to counts.")
    rules: list[PolicyRule] = Field(description="In the order of the file.")
    lists: dict[ListName, int] = Field(description="How many entries each list has; they stand in the text.")
    holds: dict[Action, HoldTerms] = Field(description="Action -> how long its decisions wait for a person.")
    control_group: ControlGroupTerms | None = Field(
        description="Who goes on by chance, to be reviewed; null if nobody."
    )
    text: str = Field(description="The policy file as it was loaded.")
    loaded_at_ms: InstantMs | None = Field(description="Used since then, epoch milliseconds; null if it never changes.")
    problem: str | None = Field(
        description="Why the file is not what is used, and where it is wrong; null if it is used."
    )
    warnings: list[str] = Field(description="What its author should look at, such as expired entries.")


class Health(StrictMessage):
    """An answer to a probe."""

    status: Literal["alive", "ready"] = Field(description="alive, or ready for payments.")


class BatchDecided(StrictMessage):
    """A payment of a batch that was decided."""

    status: Literal[200] = Field(description="As POST /decisions would answer.")
    decision: Decision = Field(description="The decision.")


class BatchAcknowledged(StrictMessage):
    """A payment of a batch that was decided, for whoever prefers a minimal answer."""

    status: Literal[200] = Field(description="It is decided and kept.")


class LabelFolded(StrictMessage):
    """A label that was folded, now or before."""

    status: Literal[200] = Field(description="The label is folded.")
    fold: FoldRecord | None = Field(description="The fold; null where its record has expired.")

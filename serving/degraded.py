"""A decision without the online store: by the payment's own facts and the policy's rules; nothing is committed."""

from pix.engines import kernel
from pix.engines.events import NOTHING_CARRIED, entity_keys
from pix.logged import DEGRADED_STORE, SIDES
from serving.outcomes import Done, Judgement, Sighting
from serving.pipeline import DecisionPipeline
from serving.policy import Case
from serving.reasons import explained
from serving.records import publicly


def decide_by_rules(pipeline: DecisionPipeline, sighting: Sighting) -> Done:
    """A decision for which no state was read: its features of states are missing.

    Rules whose facts are missing do not hit, and the model is not asked: it learnt from payments with a past.

    Args:
        pipeline: Has policy, clock and what stands on every record.
        sighting: The payment as it came in.
    """
    features = kernel.listed(kernel.vector(sighting.payment, sighting.event_ms, {}))
    policy, decided_at_ms = pipeline.policy(), pipeline.now_ms()
    verdict = pipeline.verdict(policy, sighting, Case(None, features, sighting.payment, decided_at_ms))
    judgement = Judgement(
        generation=0,
        imports=0,
        read={},
        features=features,
        carried=NOTHING_CARRIED,
        raw_score=None,
        probability=None,
        verdict=verdict,
        reasons=explained(None, features, verdict.rule_hits, policy) if verdict.action != "ALLOW" else [],
        model=None,
        policy=policy,
        decided_at_ms=decided_at_ms,
    )
    keys = entity_keys(sighting.payment)
    public = publicly(sighting, judgement, DEGRADED_STORE)
    record = pipeline.record(
        sighting,
        judgement,
        public,
        states={role: {"key": key, "read": None, "got": None} for role, key in keys.items()},
        carried={side: {"value": None, "read": None} for side in SIDES},
    )
    return Done(record, None, judgement.facts(DEGRADED_STORE, {}, {}), public)

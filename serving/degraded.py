"""A decision without the online store: by the payment's own facts and the policy's rules; nothing is committed."""

from pix.engines import kernel
from pix.engines.events import NOTHING_CARRIED, entity_keys
from pix.features import FEATURE_NAMES
from pix.logged import SIDES
from serving.outcomes import Done, Judgement, Sighting
from serving.pipeline import DecisionPipeline
from serving.reasons import explained

DEGRADED = "degraded:store"


def decide_by_rules(pipeline: DecisionPipeline, sighting: Sighting) -> Done:
    """A decision for which no state was read: its features of states are missing.

    Rules whose facts are missing do not hit, and the model is not asked: it learnt from payments with a past.

    Args:
        pipeline: Has policy, clock and what stands on every record.
        sighting: The payment as it came in.
    """
    features = kernel.listed(kernel.vector(sighting.payment, sighting.event_ms, {}))
    policy = pipeline.policy()
    verdict = policy.judge(None, dict(zip(FEATURE_NAMES, features, strict=True)))
    if sighting.arrival.forced is not None:
        verdict = verdict.forced(sighting.arrival.forced)
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
        policy_version=policy.version,
    )
    keys = entity_keys(sighting.payment)
    record = pipeline.record(
        sighting,
        judgement,
        pipeline.now_ms(),
        mode=DEGRADED,
        states={role: {"key": key, "read": None, "got": None} for role, key in keys.items()},
        carried={side: {"value": None, "read": None} for side in SIDES},
    )
    return Done(record, None, judgement.facts(DEGRADED, {}, {}))

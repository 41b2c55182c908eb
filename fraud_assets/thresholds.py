"""What thresholds a model deserves, as a policy that somebody may put in use; ``learning.thresholds`` finds them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from fraud_assets import learning_rows
from fraud_assets.declared import keys_of, named
from fraud_assets.failures import told
from fraud_assets.lake import LakeResource
from fraud_assets.models import CHAMPION, MODEL_KINDS
from fraud_assets.registry import RegistryResource
from fraud_assets.resources import HomeResource
from pix.contracts import DAY_MS, LIVE_HISTORY
from pix.offline.tables import TRAINING_SET

if TYPE_CHECKING:
    from learning.thresholds import ActionCosts, Cases, Proposal
    from serving.policy import Policy

PROPOSAL = "model/threshold_proposal"
REAL = 100
FEWEST_FRAUDS = 10
"""With fewer, thresholds cannot be told apart: nothing is proposed. What more are worth, the gain's interval says."""


class NoChampion(Exception):
    """No model serves yet."""


class ThresholdsConfig(dg.Config):
    """What reviews, delays and refusals cost, and how much analysts can look at: assumptions, to be set.

    Attributes:
        history: ``live``, or the name of an import; the one that the champion was made from.
        reviews_a_day: Payments that analysts can look at in a day, those that rules ask for included.
        review_reais: An analyst's work on one of them.
        waiting_reais: Trouble of a payer whose honest payment waits for that.
        refused_reais: Trouble of a payer whose honest payment is refused without anybody looking.
        recognised_share: Share of frauds that an analyst recognises.
        recovered_share: Share of a fraud's amount that is held at the payee's bank, where the analyst saw it after it
            was paid.
        returned_share: Share of a missed fraud's amount that comes back anyway (PIX.md section 3).
        seed: Of the resamples.
    """

    history: str = LIVE_HISTORY
    reviews_a_day: float = 200.0
    review_reais: float = 10.0
    waiting_reais: float = 20.0
    refused_reais: float = 100.0
    recognised_share: float = 0.9
    recovered_share: float = 0.4
    returned_share: float = 0.145
    seed: int = 7


@dg.asset(**named(PROPOSAL, MODEL_KINDS, pii="none"), deps=keys_of(CHAMPION, TRAINING_SET))
@told
def threshold_proposal(
    context: dg.AssetExecutionContext,
    config: ThresholdsConfig,
    lake: LakeResource,
    home: HomeResource,
    registry: RegistryResource,
) -> dg.MaterializeResult[Any]:
    """The policy in use with the thresholds that would have cost least under the champion: a file, applied by nobody.

    Chosen on the payments after those that the champion's evaluation ensemble learnt from, by what every action is
    expected to cost and by how many reviews fit into an analyst's day. `sentinela policy diff` and `dry-run` take the
    file; putting it in use is a person's act.
    """
    from learning.thresholds import propose
    from serving.policy import load_policy, parse_policy
    from serving.policy_diff import differences
    from serving.policy_thresholds import thresholds_of, with_thresholds

    policy = load_policy(Path(home.policy))
    version, cases = _cases(lake, registry, policy, config.history)
    frauds = int(cases.is_fraud.sum())
    if frauds < FEWEST_FRAUDS:
        reason = f"{frauds} frauds are known that version {version} had not learnt from; {FEWEST_FRAUDS} are needed"
        return dg.MaterializeResult(metadata={"model_version": version, "nothing_proposed": reason})
    present = thresholds_of(policy)
    found = propose(cases, list(present.values()), _costs(config), reviews_a_day=config.reviews_a_day, seed=config.seed)
    text = with_thresholds(policy.text, dict(zip(present, found.thresholds, strict=True)), home.policy)
    proposed = parse_policy(text, PROPOSAL)
    changes = [str(change) for change in differences(policy, proposed)]
    path = home.save_proposal(f"policy-{proposed.version}.yaml", text)
    context.log.info("%d changes proposed: %s", len(changes), path)
    return dg.MaterializeResult(
        metadata={
            "model_version": version,
            "policy_in_use": policy.version,
            "policy_proposed": proposed.version,
            "file": dg.MetadataValue.path(path),
            "changes": dg.MetadataValue.md("\n".join(f"- `{change}`" for change in changes) or "none"),
            "payments": float(cases.weights.sum()),
            "frauds": frauds,
            **_figures(found),
        }
    )


def _cases(lake: LakeResource, registry: RegistryResource, policy: "Policy", history: str) -> tuple[str, "Cases"]:
    """Version of the champion, and the later payments as it scores them, with what rules say of them."""
    from learning.artefact import EVALUATION
    from learning.ensemble import load_ensemble
    from learning.scoring import probabilities
    from learning.thresholds import Cases
    from learning.training import outcomes_of
    from serving.rules_only import segments, severities

    champion = registry.champion()
    if champion is None:
        raise NoChampion("no model serves, so there is none to choose thresholds for: materialise model/champion first")
    frame = learning_rows.read(lake, history).frame
    later = frame[frame["event_time_ms"] >= champion.card.cut_ms]
    outcomes = outcomes_of(later)
    span_ms = int(np.ptp(outcomes.times_ms)) if len(later) else 0
    return champion.ref.version, Cases(
        probabilities=probabilities(load_ensemble(champion.folder, EVALUATION), later),
        is_fraud=outcomes.is_fraud,
        amount_cents=outcomes.amount_cents,
        weights=outcomes.weights,
        asked=severities(policy, later).astype("int64"),
        segments=segments(policy, later),
        days=max(1.0, span_ms / DAY_MS),
    )


def _costs(config: ThresholdsConfig) -> "ActionCosts":
    from learning.costs import Costs
    from learning.thresholds import ActionCosts

    basic = Costs(
        review_cents=round(config.review_reais * REAL),
        friction_cents=round(config.waiting_reais * REAL),
        returned_share=config.returned_share,
    )
    return ActionCosts(
        basic=basic,
        refused_cents=round(config.refused_reais * REAL),
        recognised_share=config.recognised_share,
        recovered_share=config.recovered_share,
    )


def _figures(found: "Proposal") -> dict[str, Any]:
    gain = found.gain_reais_a_day
    return {
        "beside_each_other": dg.MetadataValue.md(_table(found)),
        "gain_reais_a_day": gain.point,
        "gain_reais_a_day_low": gain.low,
        "gain_reais_a_day_high": gain.high,
        "review_price_reais": found.review_price_cents / REAL,
    }


def _table(found: "Proposal") -> str:
    """What the thresholds in use and the proposed ones would have done."""
    rows = [
        f"| {label} | {form.format(getattr(found.now, name))} | {form.format(getattr(found.then, name))} |"
        for name, label, form in TOLD
    ]
    return "\n".join(["| a day | in use | proposed |", "|---|---:|---:|", *rows])


TOLD = (
    ("reviews_a_day", "payments to look at", "{:,.1f}"),
    ("held_a_day", "of them waiting for it", "{:,.1f}"),
    ("honest_refused_a_day", "honest payments refused", "{:,.1f}"),
    ("frauds_let_go", "share of frauds let go", "{:.1%}"),
    ("saved_reais_a_day", "R$ saved, by what the payments were", "{:,.0f}"),
    ("expected_reais_a_day", "R$ saved, by the probabilities", "{:,.0f}"),
)
"""Field of ``learning.thresholds.Outcome``, what it is called, its form."""

"""The policy of a past decision, from the lake by its hash, and what it says once more.

Everything that it judges by stands on the record: probability, vector, payment, when it was decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pix.contracts import Payment
from pix.tokens import Keyring
from serving.holds import hold_of
from serving.policy import TEST_ACCOUNT, Case, InvalidPolicy, Policy, parse_policy
from serving.policy_archive import TABLE as POLICIES
from serving.reasons import Explains, explained
from serving.rerun_errors import EvidenceAway, OtherBuild
from serving.rerun_lake import Evidence
from serving.trial_accounts import TEST_ACCOUNTS

GOES_ON = ("ALLOW", "REVIEW")


class WrongPolicy(Exception):
    """What the lake holds under a policy's hash has another hash."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What the model said.

    Attributes:
        model: It; None without a model.
        probability: Calibrated probability of fraud.
        features: The vector.
    """

    model: Explains | None
    probability: float | None
    features: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the policy says.

    Attributes:
        logged: Field of the record -> what should stand there.
        reasons: Reasons, for ALLOW too.
    """

    logged: Mapping[str, Any]
    reasons: Sequence[Mapping[str, Any]]


class PastPolicies:
    """Policies by what stands on a decision; each is loaded once."""

    def __init__(self, evidence: Evidence, keyring: Keyring | None) -> None:
        """Begin.

        Args:
            evidence: The lake.
            keyring: Keys of the tokens, which tell test accounts.
        """
        self._evidence = evidence
        self._keyring = keyring
        self._loaded: dict[str, Policy] = {}

    def of(self, version: str) -> Policy:
        """The policy of this version.

        Raises:
            EvidenceAway: The lake has none.
            WrongPolicy: The lake has another text under this hash.
            OtherBuild: This build cannot read it.
        """
        if version not in self._loaded:
            self._loaded[version] = self._read(version)
        return self._loaded[version]

    def _read(self, version: str) -> Policy:
        found = self._evidence.policy(version)
        if found is None:
            raise EvidenceAway(
                f"policy {version} is not in {POLICIES}, where every version that was ever loaded stands; restore it "
                "from a backup"
            )
        text, hashed = found
        if hashed != version:
            raise WrongPolicy(f"the text under it in {POLICIES} has the hash {hashed}: it was changed")
        try:
            return parse_policy(text, f"{version} in {POLICIES}")
        except InvalidPolicy as unreadable:
            raise OtherBuild(
                f"this build cannot read it, run the command of the build that decided: {unreadable}"
            ) from (unreadable)

    def forced(self, record: Mapping[str, Any]) -> str | None:
        """The action that a test account forced, by the payee's token; None where none did.

        Raises:
            EvidenceAway: The key of the tokens is not here.
        """
        if TEST_ACCOUNT not in record["rule_hits"]:
            return None
        version = record["token_key_version"]
        if self._keyring is None or version not in self._keyring.keys:
            raise EvidenceAway(
                f"a test account forced the decision, and whether its payee is one is told by token key {version}, "
                "which is not in this home's secrets"
            )
        keyring = Keyring(version, self._keyring.keys)
        tokens = {keyring.token(record["tenant"], "account", clear): clear for clear in TEST_ACCOUNTS}
        payee = tokens.get(record["payment"]["payee_account"])
        return TEST_ACCOUNTS[payee] if payee else None


def judged(policy: Policy, record: Mapping[str, Any], vote: Vote, *, forced: str | None) -> Judged:
    """Action, hits, hold and reasons once more.

    Args:
        policy: The version that judged.
        record: The decision record.
        vote: What the model says now.
        forced: Action that a test account asked for.
    """
    case = Case(vote.probability, vote.features, Payment(**record["payment"]), record["decided_at_ms"])
    verdict = policy.judge(case)
    if forced is not None:
        verdict = verdict.forced(forced)
    hold = hold_of(verdict.action, record["decided_at_ms"], policy)
    reasons = explained(vote.model, vote.features, verdict.rule_hits, policy)
    return Judged(
        {
            "action": verdict.action,
            "rule_hits": list(verdict.rule_hits),
            "hold": hold.described() if hold else None,
            "outcome": "allowed" if verdict.action in GOES_ON else "attempted",
            "control_group": verdict.control.described() if verdict.control else None,
            "reasons": reasons if verdict.action != "ALLOW" else [],
        },
        reasons,
    )

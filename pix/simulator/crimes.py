"""All campaigns of a plan, played in one go: they are few, and each may last for days."""

from dataclasses import dataclass

import numpy as np

from pix.simulator.campaigns import play
from pix.simulator.directory import Directory, directory
from pix.simulator.flow import Flow, join, place_steps
from pix.simulator.outcomes import WRONGLY_ACCEPTED_SHARE, Dispute, disputes, join_disputes
from pix.simulator.plan import SimulationPlan
from pix.simulator.population import Population
from pix.simulator.rhythm import DAY_MS, Window, draw_times, local_hour
from pix.simulator.scenarios import SCENARIOS, Scenario

# Not a multiple of 3, see _slice.
SLICES = 8
_TRIES = 40
# A typology that is new is tried by everyone.
_NEW_FACTOR = 6.0


@dataclass(frozen=True, slots=True)
class Crimes:
    """The payments of all campaigns in time order, their disputes row by row, and what the directory notes."""

    flow: Flow
    dispute: Dispute
    directory: Directory

    def within(self, window: Window) -> "Crimes":
        """Those of a window, with the whole directory."""
        first, last = np.searchsorted(self.flow.at_ms, window)
        rows = np.arange(first, last)
        return Crimes(self.flow.take(rows), self.dispute.take(rows), self.directory)


def commit(rng: np.random.Generator, population: Population, plan: SimulationPlan) -> Crimes:
    """Campaigns until as many payments will be accepted as fraud as the plan asks for."""
    target = round(plan.accepted_frauds * (1 - WRONGLY_ACCEPTED_SHARE))
    empty = place_steps([], plan.window[0], plan.window, 0)
    flows, ends = [empty], [disputes(rng, empty)]
    accepted = paid = 0
    while accepted < target and paid < plan.payments:
        campaign = len(flows)
        start_ms, scenario = _opportunity(rng, plan, campaign)
        flow = place_steps(play(rng, population, scenario, start_ms), start_ms, plan.window, campaign)
        end = disputes(rng, flow)
        so_far = np.cumsum(end.accepted)
        # The last campaign ends with the payment that makes the number whole.
        keep = np.arange(min(int(np.searchsorted(so_far, target - accepted)) + 1, plan.payments - paid, len(flow)))
        flows.append(flow.take(keep))
        ends.append(end.take(keep))
        paid += len(keep)
        accepted += int(end.accepted[keep].sum())
    times = np.concatenate([flow.at_ms for flow in flows])
    flow, dispute = join(flows), join_disputes(ends).take(np.argsort(times, kind="stable"))
    return Crimes(flow, dispute, directory(flow, dispute))


def _opportunity(rng: np.random.Generator, plan: SimulationPlan, campaign: int) -> tuple[int, Scenario]:
    """When a campaign begins, epoch ms, and what it is: by the hour that suits it."""
    piece = _slice(plan.window, campaign)
    start_ms = int(draw_times(rng, 1, piece)[0])
    shares = np.array([_share(plan, scenario, start_ms) for scenario in SCENARIOS])
    if not shares.sum():
        shares = np.array([scenario.share for scenario in SCENARIOS])
    scenario = SCENARIOS[int(rng.choice(len(SCENARIOS), p=shares / shares.sum()))]
    if scenario.hours is not None:
        begin, end = scenario.hours
        day = (max(piece[0], start_ms - DAY_MS), min(piece[1], start_ms + DAY_MS))
        drawn = draw_times(rng, _TRIES, day)
        hours = local_hour(drawn)
        right = drawn[(hours >= begin) & (hours < end) if begin < end else (hours >= begin) | (hours < end)]
        start_ms = int(right[0]) if len(right) else start_ms
    return start_ms, scenario


def _share(plan: SimulationPlan, scenario: Scenario, start_ms: int) -> float:
    for drift in plan.drifts:
        if drift.kind == "typology" and drift.of == scenario.typology.name.lower():
            return scenario.share * _NEW_FACTOR if start_ms >= drift.at_ms(plan.window) else 0.0
    return scenario.share


def _slice(window: Window, campaign: int) -> Window:
    """Campaigns take turns among the window's slices: few as they are, none of its parts goes without."""
    begin, end = window
    if end - begin < SLICES:
        return window
    turn = campaign * 3 % SLICES
    return begin + (end - begin) * turn // SLICES, begin + (end - begin) * (turn + 1) // SLICES

"""Tables of ``docs/simulator.md``, as Markdown, and where they stand in it. Pure: text in, text out.

A generated block stands between ``<!-- name -->`` and ``<!-- /name -->``; everything else is written by hand.
"""

import math
from collections.abc import Iterable, Sequence

from pix.simulator import published
from pix.simulator.fidelity import Figure
from pix.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from pix.simulator.scenarios import SCENARIOS, TRACED, Scenario

_VICTIMS = (
    "Typology", "Of campaigns", "Victims", "Ages", "Businesses among them", "Payments each", "Mean gap",
    "First payment, median (σ)", "Growth", "Drained", "Probed first", "Session", "Form",
)  # fmt: skip
_MONEY = (
    "Typology", "Stranger's device (registered first)", "Credentials / limit / funds changed before", "Away",
    "Hours", "Receivers", "Businesses'", "Passed on (hops)", "Clean account", "MED situation", "Reported", "Accepted",
)  # fmt: skip


class NoSuchBlock(ValueError):
    """The document has no such block; the message says which markers are missing."""


def replaced(document: str, name: str, content: str) -> str:
    """The document with the block of that name filled anew.

    Raises:
        NoSuchBlock: The markers are missing.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise NoSuchBlock(f"the document lacks {begin.strip()} or {end}; write both where the block shall stand")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def scenario_tables() -> str:
    """The scenarios' parameters, in two tables."""
    return f"{table(_VICTIMS, map(_victims, SCENARIOS))}\n{table(_MONEY, map(_money, SCENARIOS))}\n{_mules()}"


def figure_table(figures: Iterable[Figure]) -> str:
    """Published against simulated."""
    header = ("Figure", "Unit", "Published", "Source", "Simulated", "Tolerance", "", "Run")
    return table(header, map(_figure, figures))


def number(value: float) -> str:
    """Three figures that count, thousands whole."""
    if math.isnan(value):
        return "none"
    size = abs(value)
    if size >= 100 or value == round(value):  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"  # noqa: PLR2004


def _figure(figure: Figure) -> tuple[str, ...]:
    tolerance = "at most" if figure.at_most else f"± {number(figure.tolerance)}"
    verdict = "inside" if figure.within else "**outside**"
    return (
        figure.name, figure.unit, number(figure.published), figure.source, number(figure.simulated), tolerance, verdict,
        figure.run,
    )  # fmt: skip


def _victims(scenario: Scenario) -> tuple[str, ...]:
    amounts = scenario.amounts
    forms = ", ".join(f"{published.INITIATIONS[form]} {_share(part)}" for form, part in scenario.initiations.items())
    return (
        _name(scenario), _share(scenario.share), _range(scenario.victims), _range(scenario.ages),
        _share(scenario.business_share), _range(scenario.payments), _duration(scenario.gap_ms),
        f"R$ {amounts.median:,.0f} ({amounts.sigma})", "× " + _range(amounts.growth), _share(amounts.drain_share),
        _share(amounts.probe_share), scenario.behaviour.name.lower().replace("_", " "), forms,
    )  # fmt: skip


def _money(scenario: Scenario) -> tuple[str, ...]:
    layer, outcome = scenario.layer, scenario.outcome
    changed = " / ".join(map(_share, (scenario.credentials_share, scenario.limit_share, scenario.funds_share)))
    stranger = f"{_share(scenario.stranger_share)} ({_share(scenario.registered_share)})"
    hours = "the victims'" if scenario.hours is None else f"{scenario.hours[0]}h to {scenario.hours[1]}h"
    return (
        _name(scenario), stranger if scenario.stranger_share else "none", changed, _share(scenario.away_share), hours,
        _range(layer.accounts), _share(layer.company_share),
        f"{_share(layer.passed_on)} ({_range(layer.hops)})" if layer.passed_on else "none", _share(layer.clean_share),
        outcome.fraud_type, _share(outcome.reported), _share(outcome.accepted),
    )  # fmt: skip


def _mules() -> str:
    return (
        "The twelfth, mule pass-through, is the layer of the others: receivers pass 90 to 100 % on within minutes. "
        f"{_share(TRACED.reported)} of it is found when a victim's dispute is traced, and {_share(TRACED.accepted)} of "
        "that is accepted.\n"
    )


def _name(scenario: Scenario) -> str:
    return scenario.typology.name.lower().replace("_", " ")


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _duration(ms: float) -> str:
    for unit, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min")):
        if ms >= unit:
            return f"{ms / unit:g} {name}"
    return f"{ms / SECOND_MS:g} s"

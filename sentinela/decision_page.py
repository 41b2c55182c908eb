"""A decision for a person: what was done and why first, then what it was made of, then where each part is.

Features come last, because there are many: those that are not 0, in two columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from serving.rerun_sample import SampleReport

BRASILIA = timezone(timedelta(hours=-3))
SHOWN_DIFFERENCES = 20
STYLES = {"ALLOW": "green", "REVIEW": "yellow", "BLOCK_AND_REVIEW": "red", "BLOCK": "bold red"}
WIDTH = 110


def console() -> "Console":
    """Where the page goes; as wide as a line of text may be where there is no terminal."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, soft_wrap=False)
    if not found.is_terminal:
        found = Console(highlight=False, markup=False, soft_wrap=False, width=WIDTH)
    return found


def show(to: "Console", found: Mapping[str, Any]) -> None:
    """Print one decision.

    Args:
        to: Where.
        found: The document of ``sentinela.decision``.
    """
    _headline(to, found)
    _section(to, "Reasons", _reasons(found))
    if found["rerun"] is not None:
        _section(to, "Re-run from lake and registry", _rerun(found))
    _section(to, "Payment", _payment(found["payment"]))
    _section(to, "Score and policy", [_pairs(_score(found))])
    _section(to, "States, by the numbers of their folds", [_states(found["states"])])
    _section(to, "Labels", _labels(found["labels"]))
    if found["superseded"]:
        _section(to, "Later records of this id, which do not count", _superseded(found["superseded"]))
    _section(to, "Where it stands", [_pairs(_places(found))])
    for title, parts in _features(found["features"]):
        _section(to, title, parts)


def _headline(to: "Console", found: Mapping[str, Any]) -> None:
    from rich.text import Text

    probability = found["fraud_probability"]
    said = "no score" if probability is None else f"fraud probability {probability:.4f}"
    line = Text(found["action"], style=STYLES[found["action"]])
    line.append(f"  {said}  {_reais(found['payment']['amount_cents'])}  {found['mode']}", style="default")
    to.print(line)
    to.print(f"{found['end_to_end_id']}  tenant {found['tenant']}")
    to.print(f"decided {_moment(found['decided_at_ms'])}, event time {_moment(found['event_time_ms'])}")
    if found.get("hold"):
        hold = found["hold"]
        to.print(f"waits for a person until {_instant(hold['expires_at'])}, then {hold['outcome']}")


def _section(to: "Console", title: str, parts: Sequence["RenderableType"]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    to.print()
    to.print(Text(title, style="bold"))
    for part in parts:
        to.print(Padding(part, (0, 0, 0, 2), expand=False))


def _pairs(rows: Sequence[tuple[str, str]]) -> "RenderableType":
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _reasons(found: Mapping[str, Any]) -> list["RenderableType"]:
    lines: list[RenderableType] = [f"rule {name}" for name in found["rule_hits"]]
    for reason in found["reasons"]:
        lines.append(f"{reason['code']}  {reason['contribution']:+.4f} log-odds")
        lines += [f"  {language:5}  {text}" for language, text in sorted(reason["text"].items(), reverse=True)]
    if not lines:
        lines.append("none on the record: an allowed payment carries none; --rerun computes them")
    return lines


def _payment(payment: Mapping[str, Any]) -> list["RenderableType"]:
    rows = [("amount", _reais(payment["amount_cents"]))]
    for name, value in sorted(payment.items()):
        if name not in ("amount_cents", "end_to_end_id", "tenant"):
            rows.append((name, _moment(value) if name.endswith("_at_ms") else _masked(str(value))))
    return [_pairs(rows)]


def _masked(text: str) -> str:
    """A token shortened: enough to tell two apart, and the document has it whole."""
    version, colon, mac = text.partition(":")
    return f"{version}:{mac[:4]}…{mac[-4:]}" if colon and len(mac) == 32 and version.startswith("k") else text


def _states(states: Mapping[str, Mapping[str, Any]]) -> "RenderableType":
    from rich.table import Table

    table = Table("entity", "token", "read", "got", "folded meanwhile", box=None, padding=(0, 2, 0, 0))
    for role, state in states.items():
        token = ">".join(_masked(part) for part in state["key"].split("|", 2)[2].split(">"))
        if state["read"] is None:
            table.add_row(role, token, "not read", "not written", "")
            continue
        # The first live fold of a key takes its time as its number.
        between = "" if state["read"] < 10**12 else str(state["got"] - state["read"] - 1)
        table.add_row(role, token, str(state["read"]), str(state["got"]), between)
    return table


def _score(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, again = found["model"], found["rerun"] or {}
    rows = [
        ("raw score", "none" if found["raw_score"] is None else f"{found['raw_score']!r} log-odds"),
        ("probability", "none" if found["fraud_probability"] is None else repr(found["fraud_probability"])),
    ]
    members = again.get("member_scores") or {}
    rows += [(f"  member {name}", f"{score!r} log-odds") for name, score in members.items()]
    if model:
        rows.append(("model", f"{model['name']} version {model['version']}, SHA-256 {model['sha256']}"))
    rows += [
        ("policy", found["policy_version"]),
        ("features", found["feature_fingerprint"]),
        ("build", found["build"]),
        ("outcome", found["outcome"]),
    ]
    return rows


def _features(features: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list["RenderableType"]]]:
    from rich.table import Table

    for group in dict.fromkeys(one["group"] for one in features):
        known = [one for one in features if one["group"] == group and one["value"] is not None]
        cells = [
            part for one in known if one["value"] != 0 for part in (one["name"], _short(one["value"], one["unit"]))
        ]
        if not known:
            continue
        total = sum(one["group"] == group for one in features)
        zeros = sum(one["value"] == 0 for one in known)
        table = Table.grid(padding=(0, 2))
        for start in range(0, len(cells), 4):
            table.add_row(*cells[start : start + 4])
        title = f"Features: {group}, {len(known)} of {total} known" + (f", {zeros} of them 0" if zeros else "")
        yield title, [table] if cells else []


def _short(value: float, unit: str) -> str:
    if unit == "centavos":
        return _reais(round(value))
    shown = f"{value:,.0f}" if value == int(value) else f"{value:.6g}"
    return shown if unit in ("flag", "ratio") else f"{shown} {unit}"


def _places(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    place, origin = found["published"], found["origin"]
    came = (
        f"{origin['topic']} partition {origin['partition']} offset {origin['offset']}"
        if origin["kind"] == "kafka"
        else f"REST, client {origin['client']}"
    )
    rows = [
        ("decision", f"{place['topic']} partition {place['partition']} offset {place['offset']}, published "
                     f"{_moment(place['timestamp_ms'])}, in bronze {_moment(place['ingested_at_ms'])}"),
        ("payment came by", f"{came}, received {_moment(found['received_at_ms'])}"),
        ("trace", found["trace_id"]),
        ("store generation", f"{found.get('store_generation', 0)}, base of {found['generation']} imports"),
        *((f"lake {table}", f"version {version}") for table, version in found["lake_versions"].items()),
    ]  # fmt: skip
    again = (found["rerun"] or {}).get("model") or {}
    if "trained_at" in again:
        learnt = ", ".join(f"{table} version {version}" for table, version in again["data_versions"].items())
        rows.append(("model learnt from", f"{learnt}, at {_instant(again['trained_at'])}"))
    if found["copies"]:
        rows.append(("identical copies", str(found["copies"])))
    return rows


def _labels(labels: Sequence[Mapping[str, Any]]) -> list["RenderableType"]:
    if not labels:
        return ["none in silver/labels"]
    return [
        f"{_moment(label['known_at_ms'])}  {label['kind']} by {label['source']}"
        f"{', ' + label['fraud_type'] if label['fraud_type'] else ''}: "
        f"{'fraud' if label['is_fraud_after'] else 'no fraud'} from then on"
        for label in labels
    ]


def _superseded(rows: Sequence[Mapping[str, Any]]) -> list["RenderableType"]:
    return [
        f"{row['topic']} partition {row['partition']} offset {row['offset']}: {row['action']}, {row['mode']}, decided "
        f"{_instant(row['decided_at'])}"
        for row in rows
    ]


def _rerun(found: Mapping[str, Any]) -> list["RenderableType"]:
    again = found["rerun"]
    told = [difference_line(each) for each in again["differences"][:SHOWN_DIFFERENCES]]
    rest = len(again["differences"]) - len(told)
    lines: list[RenderableType] = [*told, f"and {rest} more; --json has all"] if rest > 0 else [*told]
    if again["not_compared"]:
        lines.append(f"not compared: {again['not_compared']}")
    if again["equal"]:
        lines.append("equal to the last bit: features, carried facts, score, action, hold, reasons")
    if again["model"]:
        lines.append(f"the model came from {again['model']['from']}, its signature and SHA-256 verified")
    for reason in again["reasons"] if not found["reasons"] else ():
        lines.append(f"on demand {reason['code']}  {reason['contribution']:+.4f}  {reason['text']['pt-BR']}")
    return lines


def difference_line(difference: Mapping[str, Any]) -> str:
    """One difference."""
    return f"DIFFERS {difference['what']}: logged {difference['logged']}, recomputed {difference['recomputed']}"


def show_sample(to: "Console", report: "SampleReport") -> None:
    """Print what became of a sample."""
    from rich.table import Table

    table = Table("action", "mode", "equal", "different", "not compared", box=None, padding=(0, 2, 0, 0))
    for row in report.strata():
        numbers = (f"{row[name]:,}" for name in ("equal", "different", "not_compared"))
        table.add_row(row["action"], row["mode"], *numbers)
    to.print(table)
    for one in report.different[:SHOWN_DIFFERENCES]:
        to.print(f"{one.end_to_end_id} of tenant {one.tenant}:", soft_wrap=True)
        for difference in one.differences[:SHOWN_DIFFERENCES]:
            to.print(f"  DIFFERS {difference}", soft_wrap=True)
    for why in sorted({one.away or "" for one in report.not_compared}):
        to.print(f"not compared: {why}", soft_wrap=True)


def _reais(cents: int) -> str:
    return "R$ " + f"{cents / 100:,.2f}".translate(str.maketrans(",.", ".,"))


def _moment(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BRASILIA)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d} BRT"


def _instant(text: str) -> str:
    return _moment(round(datetime.fromisoformat(text).timestamp() * 1000))

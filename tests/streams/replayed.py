"""What the logs alone say: states and vectors made anew from ``pix.decisions`` and ``pix.folds``."""

import json
from collections.abc import Iterable
from typing import Any

from pix.contracts import Payment
from pix.engines import kernel, oracle
from pix.engines.events import Carried, Event, entity_keys, kind_of, payment_events
from pix.labels import LabelChange

Numbered = dict[str, list[tuple[int, Event]]]
"""Key -> (number, event) in the order of the numbers."""


class Logs:
    """Decisions and folds as they stand on their topics; identical records count once.

    Attributes:
        decisions: Payment's id -> its record.
        folds: Label's id -> its record.
        events: What was folded into each key.
    """

    def __init__(self, decisions: Iterable[bytes], folds: Iterable[bytes]) -> None:
        self.decisions = _once(decisions, "end_to_end_id")
        self.folds = _once(folds, "fold_id")
        self.events: Numbered = {}
        for record in self.decisions.values():
            payment = Payment(**record["payment"])
            carried = Carried(**{name: fact["value"] for name, fact in record["carried"].items()})
            self._take(record, payment_events(
                payment, entity_keys(payment), record["event_time_ms"], carried,
                is_allowed=record["outcome"] == "allowed", is_imported=False,
            ))  # fmt: skip
        for record in self.folds.values():
            if record["change"]:
                change = LabelChange(record["time_ms"], record["measure"], record["change"], record["counted_at_ms"])
                self._take(record, change.events({role: state["key"] for role, state in record["states"].items()}))
        for numbered in self.events.values():
            numbered.sort(key=lambda pair: pair[0])

    def _take(self, record: dict[str, Any], events: dict[str, Any]) -> None:
        got = {state["key"]: state["got"] for state in record["states"].values()}
        assert set(got) == set(events)
        for key, event in events.items():
            self.events.setdefault(key, []).append((got[key], event))

    def gaps(self) -> list[str]:
        """Keys whose numbers have a gap or a repeat."""
        return [
            key
            for key, numbered in self.events.items()
            if [number for number, _ in numbered] != list(range(numbered[0][0], numbered[0][0] + len(numbered)))
        ]

    def state(self, key: str) -> tuple[int, bytes]:
        """Number and blob of a key after all its events."""
        blob = None
        for _, event in self.events[key]:
            blob = kernel.fold(blob, kind_of(key), event)
        assert blob is not None
        return self.events[key][-1][0], blob

    def mismatches(self) -> list[str]:
        """Decisions whose logged vector is not what the oracle computes at the numbers that they read."""
        return [identity for identity, record in self.decisions.items() if self._vector(record) != record["features"]]

    def _vector(self, record: dict[str, Any]) -> list[float | None]:
        pasts = {
            role: [event for number, event in self.events[state["key"]] if number <= state["read"]]
            for role, state in record["states"].items()
        }
        return list(oracle.vector(Payment(**record["payment"]), record["event_time_ms"], pasts))


def _once(values: Iterable[bytes], identity: str) -> dict[str, dict[str, Any]]:
    """Records by id; delivered again they must have the same bytes."""
    found: dict[str, bytes] = {}
    for value in values:
        name = json.loads(value)[identity]
        assert found.setdefault(name, value) == value, f"{name} has two different records"
    return {name: json.loads(value) for name, value in found.items()}

"""Another policy's thresholds in a policy's file: a few numbers are replaced, every other byte stays as it was."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from serving.policy import ACTIONS, DEFAULT, InvalidPolicy, Policy, parse_policy


class NotReplaced(Exception):
    """The file is written so that its thresholds cannot be replaced one by one."""


def with_thresholds(text: str, thresholds: Mapping[str, Sequence[float]], file: str) -> str:
    """The file with other thresholds.

    Args:
        text: The file as it is.
        thresholds: Segment, or ``DEFAULT`` for all other payments -> probability from which REVIEW, BLOCK_AND_REVIEW
            and BLOCK apply.
        file: How the file is called in an error.

    Raises:
        serving.policy.InvalidPolicy: The file cannot be used as it is, or the thresholds are none.
        NotReplaced: A number of it stands for several, as YAML's anchors make them.
    """
    before = parse_policy(text, file)
    changes = []
    for name, node in _nodes(text):
        for action, value in zip(ACTIONS[1:], thresholds.get(name, ()), strict=False):
            old = _value(node, action)
            changes.append((old.start_mark.index, old.end_mark.index, format(value, ".6g")))
    changed = text
    for start, end, new in sorted(changes, reverse=True):
        changed = changed[:start] + new + changed[end:]
    try:
        after = parse_policy(changed, file)
    except InvalidPolicy as broken:
        raise NotReplaced(f"{file} with other thresholds is no policy any more: {broken}") from broken
    if not _is_only_that(before, after, thresholds):
        raise NotReplaced(
            f"{file} is written in a way that thresholds cannot be replaced in; write them without anchors"
        )
    return changed


def thresholds_of(policy: Policy) -> dict[str, tuple[float, ...]]:
    """Segment -> its thresholds, in the order in which they are asked, those of all other payments last."""
    return {**{each.name: each.thresholds for each in policy.segments}, DEFAULT: tuple(policy.thresholds.values())}


def _nodes(text: str) -> list[tuple[str, Any]]:
    """Name of each segment, and where its thresholds stand in a policy that can be used."""
    root: Any = yaml.compose(text)
    found = [(DEFAULT, _value(root, "thresholds"))]
    keys = {key.value for key, _ in root.value}
    if "segments" in keys:
        parts = _value(root, "segments").value or []
        found += [(_value(part, "name").value, _value(part, "thresholds")) for part in parts]
    return found


def _value(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)


def _is_only_that(before: Policy, after: Policy, thresholds: Mapping[str, Sequence[float]]) -> bool:
    expected = {**thresholds_of(before), **{name: tuple(values) for name, values in thresholds.items()}}
    return thresholds_of(after) == expected and _rest(before) == _rest(after)


def _rest(policy: Policy) -> dict[str, object]:
    told = policy.described()
    without = [(each.name, each.condition.source) for each in policy.segments]
    lists = {name: found.entries for name, found in policy.lists.items()}
    left_out = {"version": None, "text": None, "thresholds": None, "segments": None}
    return {**told, **left_out, "without": without, "whom": lists}

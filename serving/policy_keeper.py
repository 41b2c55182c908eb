"""The policy in use, and its file: a changed one is loaded aside, kept in the lake, then used by all workers at once.

    changed?  ->  right?  ->  in the lake?  ->  used from two seconds after the change
                  no: the version in use stays, also over a restart, and the problem is told

Every worker of a host looks at the same file by the same clock, so they change over at the same moment, although
each loads for itself. A file that was put there with an old time is used as soon as it is seen.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.policy import InvalidPolicy, Policy, load_policy, parse_policy
from serving.policy_archive import NotKept

log = logging.getLogger(__name__)

USED_AFTER_MS = 2_000
LAST_GOOD = "last-good.yaml"


@dataclass(frozen=True, slots=True)
class _Next:
    """A policy that was loaded aside.

    Attributes:
        policy: The policy.
        from_ms: Used from then on, epoch milliseconds.
    """

    policy: Policy
    from_ms: int


class PolicyKeeper:
    """Knows the policy to judge by."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        keep: Callable[[str, int], None],
        now_ms: Callable[[], int],
        token_key_version: int,
        told: Callable[[bool], None],
    ) -> None:
        """Take the file, or where that cannot be used the last one that could.

        Args:
            path: The policy file.
            folder: Where a copy of the last good one lies.
            keep: Writes a text and the time into the lake; raises NotKept.
            now_ms: The clock, epoch milliseconds.
            token_key_version: Key version of the tokens in payments.
            told: Whether the file is refused now.

        Raises:
            InvalidPolicy: The file cannot be used, and there is no good one before it.
            NotKept: The lake does not take it, and there is no good one before it.
        """
        self.problem: str | None = None
        """Why the file is not what is used; None if it is."""
        self._path, self._copy = path, folder / LAST_GOOD
        self._keep, self._now_ms, self._told = keep, now_ms, told
        self._token_key_version = token_key_version
        self._next: _Next | None = None
        self._refused: bytes | None = None
        self._is_surely_kept = False
        last = self._last_good()
        try:
            found = load_policy(path)
            if last is None or found.version != last.version:
                self._accept(found)
            told(False)
        except (InvalidPolicy, NotKept) as refused:
            if last is None:
                raise
            found = last
            self._refuse(str(refused))
        self._current = found
        self.loaded_at_ms = now_ms()
        """When the one in use was loaded, epoch milliseconds."""
        self._say(found)

    def current(self) -> Policy:
        """The policy to judge by now; whoever judges asks once per payment."""
        following = self._next
        if following is not None and self._now_ms() >= following.from_ms:
            self._current, self.loaded_at_ms, self._next = following.policy, following.from_ms, None
        return self._current

    def look(self) -> None:
        """See whether the file has changed, and prepare what it says; called every second, beside the decisions."""
        using = self._next.policy if self._next else self._current
        try:
            content = self._path.read_bytes()
            if not self._is_surely_kept:
                # It was used before, so it should be there; but a lake can have been made anew.
                self._keep(using.text, self._now_ms())
                self._is_surely_kept = True
            if content == using.text.encode():
                self._accepted()
                return
            if content == self._refused:
                return
            changed_ms = self._path.stat().st_mtime_ns // 1_000_000
            found = parse_policy(content, str(self._path))
            self._accept(found)
        except (OSError, InvalidPolicy, NotKept) as refused:
            # A lake that does not answer is asked again; a wrong file is not read again until it changes.
            self._refused = content if isinstance(refused, InvalidPolicy) else None
            self._refuse(str(refused))
            return
        self._next = _Next(found, max(self._now_ms(), min(changed_ms, self._now_ms()) + USED_AFTER_MS))
        self._accepted()
        self._say(found)

    def described(self) -> dict[str, object]:
        """As ``GET /v1/policy`` answers."""
        using = self.current()
        warnings = using.warnings_at(self._now_ms(), self._token_key_version)
        about = {"loaded_at_ms": self.loaded_at_ms, "problem": self.problem, "warnings": list(warnings)}
        return {**using.described(), **about}

    def _last_good(self) -> Policy | None:
        try:
            return load_policy(self._copy)
        except InvalidPolicy:
            return None

    def _accept(self, policy: Policy) -> None:
        """Keep it where a re-run looks for it, before anybody can decide by it; then for a restart."""
        self._keep(policy.text, self._now_ms())
        self._is_surely_kept = True
        self._copy.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._copy.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(policy.text.encode())
        fresh.replace(self._copy)

    def _accepted(self) -> None:
        if self.problem is not None:
            log.warning("the policy file %s is right again", self._path)
        self.problem, self._refused = None, None
        self._told(False)

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the policy in use stays: %s", problem)
        self.problem = problem
        self._told(True)

    def _say(self, policy: Policy) -> None:
        log.info("policy %s is used: %s", policy.version, self._path)
        for warning in policy.warnings_at(self._now_ms(), self._token_key_version):
            log.warning("policy %s: %s", policy.version, warning)

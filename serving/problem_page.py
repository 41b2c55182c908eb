"""``docs/problems.md``, made from the declared problem types."""

from serving.problems import PROBLEM_TYPES, ProblemType

_HEAD = """\
# Problems

Written by `make contracts` from `serving/problems.py`.

Every refusal is an RFC 9457 problem (`application/problem+json`): `type`, `title`, `status`, `detail`, and for broken
fields `errors`, each with `field` and `reason`. Decide by `type`, which is stable within v1 and relative to the
service; `detail` is for people and may change. A problem never repeats a value of the request. Items of a batch carry
the same problems, each in its own result.

**No answer at all** (a timeout, a closed connection): send the same body again. An EndToEndId is decided once; whoever
asks again gets the same bytes.

| Status | Type | Retry |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows = "".join(f"| {kind.status} | [`{kind.address}`](#{kind.slug}) | {_short(kind)} |\n" for kind in PROBLEM_TYPES)
    return _HEAD + rows + "".join(section(kind) for kind in PROBLEM_TYPES)


def _short(kind: ProblemType) -> str:
    return "yes" if kind.retry_after_seconds is not None else kind.retry.partition(".")[0].lower()


def section(kind: ProblemType) -> str:
    """What the page says of one type; also what the type's address answers."""
    after = kind.retry_after_seconds
    told = kind.retry + ("" if after is None else f" `Retry-After: {after}`.")
    return f"\n## {kind.slug}\n\n**{kind.status}: {kind.title}.** {kind.meaning}\n\n**Send it again?** {told}\n"

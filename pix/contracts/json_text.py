"""JSON in and out: one strict way to read an object, one way to write bytes that are hashed or compared.

Reading has a short way for what nearly every message is, and the long way for all others. The long way
alone decides what is refused and why; the short way must agree with it or stand aside.
"""

import json
from typing import Any

from pydantic_core import from_json

from pix.contracts.errors import FieldError, InvalidFields, NotJson, safe_name

MAX_BODY_BYTES = 16_384
_NO_NUMBER = object()
_NO_NUMBER_REASON = "NaN and Infinity are no JSON numbers"


def parse_json_object(raw: bytes, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """One JSON object; duplicate keys, NaN and Infinity are refused.

    Raises:
        NotJson: With the reason.
        InvalidFields: A key appears more than once.
    """
    if len(raw) > max_bytes:
        raise NotJson(FieldError("", f"is larger than {max_bytes} bytes"))
    # A batch is never flat, so the short way would only be walked in vain.
    content = _flat_object(raw) if len(raw) <= MAX_BODY_BYTES else None
    return _any_object(raw) if content is None else content


def _flat_object(raw: bytes) -> dict[str, Any] | None:
    r"""An object of plain values, parsed fast; None for everything else.

    Each key and each text has two quotation marks. The fast parser keeps the last of two equal keys, so a key
    that came twice is missing from what it returns, and its quotation marks are too many. Texts of inner lists
    and objects, and marks written as ``\"``, make too many, too; nothing makes too few.
    """
    try:
        content = from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    texts = list(map(type, content.values())).count(str)
    return content if raw.count(b'"') == 2 * (len(content) + texts) else None


def _any_object(raw: bytes) -> dict[str, Any]:
    has_constants = False

    def constant(_: str) -> object:
        nonlocal has_constants
        has_constants = True
        return _NO_NUMBER

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidFields(FieldError(safe_name(twice), "appears more than once"))
        if has_constants and any(value is _NO_NUMBER for value in content.values()):
            named = next(name for name, value in pairs if value is _NO_NUMBER)
            raise NotJson(FieldError(safe_name(named), _NO_NUMBER_REASON))
        return content

    try:
        # Decoded here, because json.loads would take UTF-16 and UTF-32, too.
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=checked, parse_constant=constant)
    except (ValueError, RecursionError):
        raise NotJson(FieldError("", "is not valid JSON in UTF-8")) from None
    if has_constants:
        raise NotJson(FieldError("", _NO_NUMBER_REASON))
    if not isinstance(content, dict):
        raise NotJson(FieldError("", "must be a JSON object"))
    return content


def canonical_json(content: Any) -> bytes:
    """The one way bytes are made where they are hashed or compared: sorted, compact, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

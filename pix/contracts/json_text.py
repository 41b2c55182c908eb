"""JSON in and out: one strict way to read an object, one way to write bytes that are hashed or compared."""

import json
from typing import Any

import orjson

from pix.contracts.errors import FieldError, InvalidFields, NotJson, safe_name

MAX_BODY_BYTES = 16_384
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
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
    """The one way bytes are made where they are hashed or compared: sorted, compact, UTF-8.

    Floats are written by the fewest digits that give the same float again; NaN, which JSON does not know, is null, as
    missing values are. NumPy arrays are lists.

    Raises:
        TypeError: A value that JSON cannot hold, or an integer beyond 64 bits.
    """
    return orjson.dumps(content, option=_CANONICAL)

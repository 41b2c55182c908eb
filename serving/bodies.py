"""Bodies of requests: read up to a limit, declared as JSON, then parsed strictly.

Refusal
├── BodyTooLarge     more bytes than the route takes
├── BodyTooSlow      it did not arrive in time
└── WrongMediaType   not declared as plain JSON in UTF-8
"""

import asyncio
from typing import Any

from starlette.requests import Request

from pix.contracts import MAX_BODY_BYTES, FieldError, InvalidFields

JSON = "application/json"
MAX_BATCH = 1_000
MAX_BATCH_BYTES = MAX_BATCH * MAX_BODY_BYTES
BODY_SECONDS = 10.0
BODY_BYTES = "sentinela.body_bytes"
"""Where the request's scope has the size of what was read."""


class Refusal(Exception):
    """A body that is not read, or not to its end."""


class BodyTooLarge(Refusal):
    """More bytes than the route takes."""


class BodyTooSlow(Refusal):
    """It did not arrive in time."""


class WrongMediaType(Refusal):
    """Not declared as plain JSON in UTF-8."""


async def body_of(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The request's body.

    Raises:
        BodyTooLarge: It is longer than ``max_bytes``, declared or not; the rest is not read.
        BodyTooSlow: It did not arrive in time.
        WrongMediaType: It is not declared as plain JSON in UTF-8.
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    name, _, charset = parameters.strip().partition("=")
    is_json = kind.strip().lower() == JSON
    if not is_json or (name.strip().lower() == "charset" and charset.strip(' "').lower() not in ("utf-8", "utf8")):
        raise WrongMediaType("send the body as application/json in UTF-8")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise WrongMediaType("send the body without content-encoding")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await _read(request, max_bytes)
    except TimeoutError:
        raise BodyTooSlow(f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    request.scope[BODY_BYTES] = len(raw)
    return raw


async def _read(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


def list_of_objects(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A field that holds objects.

    Raises:
        InvalidFields: It holds something else, none or too many.
    """
    found = content.get(name)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_BATCH or not all(isinstance(x, dict) for x in found):
        raise InvalidFields(FieldError(name, f"must be a list of 1 to {MAX_BATCH} objects"))
    return found

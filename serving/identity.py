"""Which decision a path names."""

import re

from starlette.requests import Request

from pix.contracts import FieldError, InvalidFields
from pix.contracts.fields import TENANT_SHAPE
from pix.identifiers import END_TO_END_SHAPE

_END_TO_END = re.compile(END_TO_END_SHAPE)
_TENANT = re.compile(TENANT_SHAPE)


def named_decision(request: Request) -> tuple[str, str] | None:
    """Tenant and EndToEndId that the address names; None where the id has no such shape, so that nothing has it.

    Raises:
        InvalidFields: The tenant has no such shape, or the query asks for something else.
    """
    if unknown := len(request.query_params.keys() - {"tenant"}):
        # A mistyped name would silently mean the default tenant.
        raise InvalidFields(FieldError("", f"the query has {unknown} parameters beside tenant"))
    tenants = request.query_params.getlist("tenant") or ["default"]
    if len(tenants) > 1 or not _TENANT.fullmatch(tenants[0]):
        raise InvalidFields(FieldError("tenant", "must be one name of small letters, digits and hyphens, at most 32"))
    end_to_end_id = request.path_params["end_to_end_id"]
    return (tenants[0], end_to_end_id) if _END_TO_END.fullmatch(end_to_end_id) else None

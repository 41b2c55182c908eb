"""Commands of the analyst's queue: review list, show, confirm, dismiss."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from sentinela.asking import asked

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Id = Annotated[str, typer.Argument(help="EndToEndId of the payment.", metavar="ID")]
Tenant = Annotated[str, typer.Option(help="Tenant of the payment.")]
Note = Annotated[str | None, typer.Option(help="Why, in words that name nobody; it is kept with the verdict.")]


class Status(StrEnum):
    """Which reviews."""

    OPEN = "open"
    CLOSED = "closed"
    EXPIRED = "expired"


class Sort(StrEnum):
    """In which order."""

    DEADLINE = "deadline"
    EXPECTED_LOSS = "expected_loss"


class Lang(StrEnum):
    """In which language."""

    PT_BR = "pt-BR"
    EN = "en"


class FraudType(StrEnum):
    """Kind of fraud, by the MED's list."""

    SCAM = "SCAM"
    ACCOUNT_TAKEOVER = "ACCOUNT_TAKEOVER"
    COERCION = "COERCION"
    FRAUDULENT_ACCESS = "FRAUDULENT_ACCESS"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


Language = Annotated[Lang, typer.Option("--lang", help="Language of what is shown.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help="The queue of payments that wait for a person.", no_args_is_help=True)
    group.command("list")(list_reviews)
    group.command()(show)
    group.command()(confirm)
    group.command()(dismiss)
    app.add_typer(group, name="review")


def list_reviews(
    status: Annotated[Status, typer.Option(help="Which reviews.")] = Status.OPEN,
    sort: Annotated[
        Sort, typer.Option(help="The nearest deadline or the greatest expected loss first.")
    ] = Sort.DEADLINE,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 30,
    cursor: Annotated[str | None, typer.Option(help="Go on after a list that was cut off, as it says.")] = None,
    tenant: Tenant = "default",
    lang: Language = Lang.PT_BR,
    as_json: AsJson = False,
) -> None:
    """List reviews: how long is left, how much may be lost, and the first reason."""
    from sentinela.review_page import listed

    query = {"status": status.value, "sort": sort.value, "limit": str(limit), "tenant": tenant}
    page = asked(lambda operator: operator.reviews(query | ({"cursor": cursor} if cursor else {})))
    _say(page, as_json, listed(page, lang.value))


def show(end_to_end_id: Id, tenant: Tenant = "default", lang: Language = Lang.PT_BR, as_json: AsJson = False) -> None:
    """Show one review: reasons, payment, what the payee got lately, and related reviews."""
    from sentinela.review_page import shown

    case = asked(lambda operator: operator.review(end_to_end_id, tenant))
    _say(case, as_json, shown(case, lang.value))


def confirm(
    end_to_end_id: Id,
    note: Note = None,
    fraud_type: Annotated[FraudType | None, typer.Option(help="Kind of fraud, by the MED's list.")] = None,
    tenant: Tenant = "default",
    lang: Language = Lang.PT_BR,
    as_json: AsJson = False,
) -> None:
    """Close a review: the payment was a fraud; exit 1 if somebody, or its deadline, closed it before."""
    said = {"note": note, "fraud_type": fraud_type.value if fraud_type else None}
    _close(end_to_end_id, "confirm", said, tenant, lang.value, as_json)


def dismiss(
    end_to_end_id: Id,
    note: Note = None,
    tenant: Tenant = "default",
    lang: Language = Lang.PT_BR,
    as_json: AsJson = False,
) -> None:
    """Close a review: the payment was no fraud; exit 1 if somebody, or its deadline, closed it before."""
    _close(end_to_end_id, "dismiss", {"note": note}, tenant, lang.value, as_json)


def _close(end_to_end_id: str, verb: str, said: dict[str, Any], tenant: str, lang: str, as_json: bool) -> None:
    from sentinela.review_page import closed

    given = {name: value for name, value in said.items() if value is not None}
    review = asked(lambda operator: operator.close_review(end_to_end_id, tenant, verb, given))
    _say(review, as_json, closed(review, lang))


def _say(document: dict[str, Any], as_json: bool, text: str) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json else text)

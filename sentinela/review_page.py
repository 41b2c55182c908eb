"""Reviews as an analyst reads them on a terminal, in Portuguese or English. Pure: the API's answers in, text out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

BRASILIA = ZoneInfo("America/Sao_Paulo")
PT, EN = "pt-BR", "en"
TEXTS: Mapping[str, Mapping[str, str]] = {
    PT: {
        "left": "PRAZO",
        "id": "PAGAMENTO",
        "payment": "SITUAÇÃO",
        "amount": "VALOR",
        "loss": "PERDA ESPERADA",
        "probability": "PROB.",
        "reason": "MOTIVO",
        "REVIEW": "seguiu",
        "BLOCK_AND_REVIEW": "retido",
        "none": "nenhuma revisão",
        "reviews": "revisões em",
        "more": "há mais; continue com --cursor",
        "open": "aberta",
        "closed": "encerrada",
        "expired": "expirada",
        "confirmed": "fraude confirmada",
        "dismissed": "descartada: não é fraude",
        "by": "por",
        "on": "em",
        "ALLOW": "o pagamento é liberado",
        "BLOCK": "o pagamento é bloqueado",
        "at_deadline": "no prazo sem parecer",
        "no_deadline": "sem prazo",
        "over": "encerrado",
        "review": "Revisão",
        "decided": "Decidido",
        "deadline": "Prazo",
        "rules": "Regras",
        "reasons": "Motivos",
        "facts": "Dados do pagamento (identificadores são tokens)",
        "payer": "pagador",
        "payee": "recebedor",
        "payee_payments": "Pagamentos recentes ao recebedor",
        "as_of": "dados até",
        "fraud": "FRAUDE",
        "honest": "não é fraude",
        "attempted": "não liquidado",
        "history": "importado",
        "related": "Revisões relacionadas",
        "payer_account": "conta do pagador",
        "payee_account": "conta do recebedor",
        "device": "dispositivo",
        "payer_person": "pessoa do pagador",
        "payee_person": "pessoa do recebedor",
        "note": "Nota",
        "outcome": "Resultado",
        "counts": "Há rótulo de fraude para este pagamento.",
        "label": "Rótulo",
        "gone": "o armazenamento não guarda mais a decisão; veja `sentinela decision ID`",
        "nothing": "nada",
    },
    EN: {
        "left": "LEFT",
        "id": "PAYMENT",
        "payment": "STATE",
        "amount": "AMOUNT",
        "loss": "EXPECTED LOSS",
        "probability": "PROB.",
        "reason": "REASON",
        "REVIEW": "went on",
        "BLOCK_AND_REVIEW": "held",
        "none": "no reviews",
        "reviews": "reviews at",
        "more": "there are more; go on with --cursor",
        "open": "open",
        "closed": "closed",
        "expired": "expired",
        "confirmed": "confirmed as fraud",
        "dismissed": "dismissed: no fraud",
        "by": "by",
        "on": "at",
        "ALLOW": "the payment goes on",
        "BLOCK": "the payment is blocked",
        "at_deadline": "at the deadline without a verdict",
        "no_deadline": "no deadline",
        "over": "over",
        "review": "Review",
        "decided": "Decided",
        "deadline": "Deadline",
        "rules": "Rules",
        "reasons": "Reasons",
        "facts": "Facts of the payment (identifiers are tokens)",
        "payer": "payer",
        "payee": "payee",
        "payee_payments": "The payee's recent payments",
        "as_of": "as of",
        "fraud": "FRAUD",
        "honest": "no fraud",
        "attempted": "not settled",
        "history": "imported",
        "related": "Related reviews",
        "payer_account": "payer's account",
        "payee_account": "payee's account",
        "device": "device",
        "payer_person": "payer's person",
        "payee_person": "payee's person",
        "note": "Note",
        "outcome": "Outcome",
        "counts": "A label says that this payment is a fraud.",
        "label": "Label",
        "gone": "the store has forgotten the decision; see `sentinela decision ID`",
        "nothing": "nothing",
    },
}
MINUTE, HOUR = 60, 3600
HEADINGS = ("left", "id", "payment", "amount", "loss", "probability", "reason")
TO_THE_RIGHT = frozenset({"left", "amount", "loss", "probability"})


def listed(page: Mapping[str, Any], lang: str) -> str:
    """One part of a list as a table, and how to go on."""
    text = TEXTS[lang]
    if not page["reviews"]:
        return f"{text['none']} ({moment(page['as_of'], lang)})"
    lines = table([text[name] for name in HEADINGS], [_row(review, lang) for review in page["reviews"]])
    lines.append(f"{len(page['reviews'])} {text['reviews']} {moment(page['as_of'], lang)}")
    if page["next_cursor"]:
        lines.append(f"{text['more']} {page['next_cursor']}")
    return "\n".join(lines)


def _row(review: Mapping[str, Any], lang: str) -> list[str]:
    reasons = review["reasons"]
    return [
        left(review, lang),
        review["end_to_end_id"],
        TEXTS[lang][review["action"]],
        money(review["amount_cents"], lang),
        money(review["expected_loss_cents"], lang),
        share(review["fraud_probability"], lang),
        reasons[0]["text"][lang] if reasons else ", ".join(review["rule_hits"]),
    ]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines; times, shares and money stand to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    return ["  ".join(_cells(row, widths)).rstrip() for row in (headings, *rows)]


def _cells(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if name in TO_THE_RIGHT else cell.ljust(width)
        for name, cell, width in zip(HEADINGS, row, widths, strict=True)
    ]


def shown(case: Mapping[str, Any], lang: str) -> str:
    """One review with what an analyst needs to decide."""
    return "\n".join(
        [
            *_head(case, lang),
            *_reasons(case, lang),
            *_facts(case, lang),
            *_payee(case["payee_payments"], lang),
            *_related(case["related"], lang),
        ]
    )


def closed(review: Mapping[str, Any], lang: str) -> str:
    """What a verdict did."""
    return "\n".join(_ending(review, lang))


def _head(case: Mapping[str, Any], lang: str) -> list[str]:
    text = TEXTS[lang]
    lines = [
        f"{text['review']} {case['end_to_end_id']}: {text[case['status']]}, {text[case['action']]}",
        f"{money(case['amount_cents'], lang)}, {text['loss'].lower()} {money(case['expected_loss_cents'], lang)}"
        f" ({share(case['fraud_probability'], lang)})",
        f"{text['decided']} {text['on']} {moment(case['decided_at'], lang)}",
    ]
    if case["status"] != "open":
        return [*lines, *_ending(case, lang)]
    if case["expires_at"] is None:
        return [*lines, f"{text['deadline']}: {text['no_deadline']}"]
    when = f"{moment(case['expires_at'], lang)} ({left(case, lang)})"
    return [*lines, f"{text['deadline']}: {when}; {text['at_deadline']}, {text[case['outcome_at_expiry']]}"]


def _ending(review: Mapping[str, Any], lang: str) -> list[str]:
    text, closing = TEXTS[lang], review["closing"]
    at = moment(review["ended_at"], lang)
    if closing is None:
        return [f"{text['expired']} {text['on']} {at}: {text[review['outcome']]}"]
    kind = f" ({closing['fraud_type']})" if closing["fraud_type"] else ""
    lines = [f"{text[closing['verdict']]}{kind} {text['by']} {closing['closed_by']} {text['on']} {at}"]
    lines += [f"{text['outcome']}: {text[review['outcome']]}"] if review["outcome"] else []
    lines += [f"{text['note']}: {closing['note']}"] if closing["note"] else []
    return [*lines, f"{text['label']}: {closing['label_id']}"]


def _reasons(case: Mapping[str, Any], lang: str) -> list[str]:
    text = TEXTS[lang]
    lines = ["", f"{text['reasons']}:", *(f"  {each['text'][lang]}" for each in case["reasons"])]
    lines += [f"{text['rules']}: {', '.join(case['rule_hits'])}"] if case["rule_hits"] else []
    return [*lines, text["counts"]] if case["counts_as_fraud"] else lines


def _facts(case: Mapping[str, Any], lang: str) -> list[str]:
    text, payment = TEXTS[lang], case["payment"]
    lines = ["", f"{text['facts']}:"]
    if payment is None:
        known = {text["payer"]: case["payer_account"], text["payee"]: case["payee_account"]}
        return [*lines, *(f"  {name}: {value}" for name, value in known.items()), f"  {text['gone']}"]
    facts = {name: value for name, value in payment.items() if name not in ("end_to_end_id", "amount_cents", "tenant")}
    width = max(map(len, facts))
    return [*lines, *(f"  {name.ljust(width)}  {_fact(name, facts[name], lang)}" for name in sorted(facts))]


def _fact(name: str, value: Any, lang: str) -> str:
    if name.endswith("_at_ms") or name.endswith("_since_ms") or name.endswith("_watermark_ms"):
        return moment(datetime.fromtimestamp(value // 1000, BRASILIA).isoformat(), lang)
    return money(value, lang) if name.endswith("_cents") else str(value)


def _payee(history: Mapping[str, Any], lang: str) -> list[str]:
    text = TEXTS[lang]
    as_of = f" ({text['as_of']} {moment(history['as_of'], lang)})" if history["as_of"] else ""
    lines = ["", f"{text['payee_payments']}{as_of}:"]
    if history["problem"]:
        return [*lines, f"  {history['problem']}"]
    return [*lines, *(f"  {_received(each, lang)}" for each in history["payments"] or ())] + (
        [] if history["payments"] else [f"  {text['nothing']}"]
    )


def _received(payment: Mapping[str, Any], lang: str) -> str:
    text = TEXTS[lang]
    marks = [payment["action"] or text["history"]]
    marks += [text["attempted"]] if payment["outcome"] == "attempted" else []
    marks += [] if payment["is_fraud"] is None else [text["fraud" if payment["is_fraud"] else "honest"]]
    amount = money(payment["amount_cents"], lang)
    return (
        f"{moment(payment['at'], lang)}  {amount:>16}  {text['payer']} {payment['payer_account']}  {', '.join(marks)}"
    )


def _related(related: Sequence[Mapping[str, Any]], lang: str) -> list[str]:
    text = TEXTS[lang]
    lines = ["", f"{text['related']}:"]
    for each in related:
        verdict = text[each["closing"]["verdict"]] if each["closing"] else text[each["status"]]
        shares = ", ".join(text[role] for role in each["shares"])
        when, amount = moment(each["decided_at"], lang), money(each["amount_cents"], lang)
        lines.append(f"  {each['end_to_end_id']}  {when}  {amount:>16}  {verdict}  ({shares})")
    return lines if related else [*lines, f"  {text['nothing']}"]


def left(review: Mapping[str, Any], lang: str) -> str:
    """How long until the deadline: ``59 s``, ``12 min``, ``3 h 05 min``."""
    text, seconds = TEXTS[lang], review["seconds_left"]
    if seconds is None:
        return text["over"] if review["status"] != "open" else text["no_deadline"]
    if seconds < MINUTE:
        return f"{seconds} s"
    return f"{seconds // MINUTE} min" if seconds < HOUR else f"{seconds // HOUR} h {seconds % HOUR // MINUTE:02d} min"


def money(cents: int | None, lang: str) -> str:
    """``R$ 1.234,56`` in Portuguese, ``R$ 1,234.56`` in English; ``-`` where it is not known."""
    if cents is None:
        return "-"
    text = f"{abs(cents) // 100:,}.{abs(cents) % 100:02d}"
    signed = "-R$ " if cents < 0 else "R$ "
    return signed + (text.translate(str.maketrans(",.", ".,")) if lang == PT else text)


def share(probability: float | None, lang: str) -> str:
    """A probability in percent; ``-`` where it is not known."""
    if probability is None:
        return "-"
    text = f"{100 * probability:.1f} %"
    return text.replace(".", ",") if lang == PT else text


def moment(at: str, lang: str) -> str:
    """A time in Brasilia, to the second."""
    there = datetime.fromisoformat(at).astimezone(BRASILIA)
    return there.strftime("%d/%m/%Y %H:%M:%S" if lang == PT else "%Y-%m-%d %H:%M:%S")

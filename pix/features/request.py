"""Declarations that need nothing but the payment itself: groups request and temporal."""

from pix.contracts import DAY_MS, HOUR_MS
from pix.features.declarations import RequestFeature
from pix.features.facts import CODES


def _value(name: str, unit: str, description: str, *, fact: str | None = None, scale: int = 1) -> RequestFeature:
    return RequestFeature(
        name=name, group="request", measure=fact or name, unit=unit, description=description, scale=scale
    )


def _flag(name: str, condition: str) -> RequestFeature:
    return _value(name, "flag", f"1 if {condition}, else 0; missing if unknown.")


def _age(name: str, what: str, fact: str) -> RequestFeature:
    description = f"Days from {what} to the event time; missing if unknown."
    return _value(name, "days", description, fact=fact, scale=DAY_MS)


def _share(name: str, numerator: str, denominator: str, description: str) -> RequestFeature:
    return RequestFeature(
        name=name, group="request", measure=numerator, over=denominator, unit="ratio", description=description
    )


def _is(name: str, fact: str, value: str, condition: str) -> RequestFeature:
    return RequestFeature(
        name=name,
        group="request",
        measure=fact,
        is_code=CODES[fact].index(value),
        unit="flag",
        description=f"1 if {condition}, else 0; missing if unknown.",
    )


def _time(name: str, unit: str, description: str, *, fact: str | None = None) -> RequestFeature:
    return RequestFeature(name=name, group="temporal", measure=fact or name, unit=unit, description=description)


REQUEST = (
    _value("amount_reais", "reais", "The payment's amount in reais.", fact="amount_cents", scale=100),
    _value("is_round_amount", "flag", "1 if the amount is a multiple of R$ 100, else 0."),
    _value("odd_centavos", "centavos", "The amount's centavos beyond whole reais, 0 to 99."),
    _share(
        "balance_share",
        "amount_cents",
        "payer_balance_cents",
        "The amount over the payer's balance before the payment; missing if not positive.",
    ),
    _share(
        "limit_share",
        "amount_cents",
        "payer_limit_cents",
        "The amount over what the payer may still pay now; missing if not positive.",
    ),
    _value(
        "payer_balance_reais", "reais", "The payer's balance before the payment.", fact="payer_balance_cents", scale=100
    ),
    _value("payer_limit_reais", "reais", "What the payer may still pay now.", fact="payer_limit_cents", scale=100),
    _age("payer_account_age_days", "the opening of the payer's account", "payer_account_opened_at_ms"),
    _age("payee_account_age_days", "the opening of the payee's account", "payee_account_opened_at_ms"),
    _age("key_age_days", "the registration of the Pix key", "key_created_at_ms"),
    _age("key_ownership_days", "the day since which its holder has had the Pix key", "key_owned_since_ms"),
    _age("device_age_days", "the registration of the payer's device", "device_registered_at_ms"),
    _age(
        "credentials_age_days", "the last change of the payer's password or contact data", "credentials_changed_at_ms"
    ),
    _age("limit_raise_age_days", "the last raise of the payer's limit", "limit_raised_at_ms"),
    _age("funds_raise_age_days", "the last loan or advance to the payer", "funds_raised_at_ms"),
    _flag("is_key_claimed", "its holder got the key after it was registered (portability or claim)"),
    _is("is_typed_account", "initiation", "MANU", "the payee's account was typed in (MANU)"),
    _is("is_by_key", "initiation", "DICT", "the payee was found by a Pix key (DICT)"),
    _is("is_static_qr", "initiation", "QRES", "a static QR code was read (QRES)"),
    _is("is_dynamic_qr", "initiation", "QRDN", "a dynamic QR code was read (QRDN)"),
    _is("is_standing_mandate", "initiation", "AUTO", "a standing mandate paid (AUTO)"),
    _is("is_third_party_initiated", "initiation", "INIC", "an initiation service started the payment (INIC)"),
    _flag("is_contactless", "the payment was by contact of devices (APES or APDN)"),
    _is("is_random_key", "pix_key_type", "EVP", "the Pix key is a random one"),
    _is("is_phone_key", "pix_key_type", "PHONE", "the Pix key is a telephone number"),
    _is("is_email_key", "pix_key_type", "EMAIL", "the Pix key is an e-mail address"),
    _flag("is_tax_id_key", "the Pix key is a CPF or CNPJ"),
    _is("is_scheduled_or_held", "priority", "NORM", "the payment was scheduled or held (priority NORM)"),
    _is("payer_is_company", "payer_person_type", "PJ", "the payer is a company"),
    _is("payee_is_company", "payee_person_type", "PJ", "the payee is a company"),
    _is("payee_has_payment_account", "payee_account_type", "TRAN", "the payee's account is a payment account (TRAN)"),
    _is("payee_has_savings_account", "payee_account_type", "SVGS", "the payee's account is a savings account"),
    _is("is_password_approved", "authentication", "PASSWORD", "the payer approved with a password"),
    _is("is_biometry_approved", "authentication", "BIOMETRY", "the payer approved with biometry"),
    _value(
        "is_active_call",
        "flag",
        "1 if the payer's device was in a call, 0 if not, missing if unknown.",
        fact="active_call",
    ),
    _value(
        "is_remote_access",
        "flag",
        "1 if a remote-access tool ran on the device, 0 if not, missing if unknown.",
        fact="device_remote_access",
    ),
    _value(
        "is_rooted",
        "flag",
        "1 if the device is rooted or jailbroken, 0 if not, missing if unknown.",
        fact="device_rooted",
    ),
    _value("has_device", "flag", "1 if the payment names a device, else 0."),
    _flag("is_device_unregistered", "the device has no known registration"),
    _value(
        "is_preregistered_payee",
        "flag",
        "1 if the payer had saved this payee before, 0 if not, missing if unknown.",
        fact="payee_is_preregistered",
    ),
    _value(
        "login_age_seconds",
        "seconds",
        "Seconds since the payer's login; missing if unknown.",
        fact="login_age_ms",
        scale=1000,
    ),
    _value("typing_interval_ms", "milliseconds", "Median time between the payer's keystrokes; missing if unknown."),
    _value("payer_age_years", "years", "The payer's age in whole years; missing if unknown."),
    _flag("is_away_from_home", "the device is in another municipality than the payer's home"),
    _flag("is_away_region", "the device is in another of Brazil's five regions than the payer's home"),
    _value("has_text", "flag", "1 if the payer wrote a text to the payee, else 0."),
    _value("payee_settlements_d90", "payments", "Payments the payee got in 90 days, by DICT; missing if unknown."),
    _value("payee_fraud_markers_d90", "markers", "Fraud markers on the payee in 90 days, by DICT; missing if unknown."),
    _value("payee_mule_markers_d90", "markers", "Of these, for being a mule account, by DICT; missing if unknown."),
    _value(
        "payee_fraud_reporters_d90", "institutions", "Institutions that set these markers, by DICT; missing if unknown."
    ),
    _value(
        "payee_rejected_reports_d90",
        "reports",
        "Reports against the payee rejected in 90 days, by DICT; missing if unknown.",
    ),
    _value("payee_open_reports", "reports", "Reports under way against the payee, by DICT; missing if unknown."),
    _share(
        "payee_marker_share_d90",
        "payee_fraud_markers_d90",
        "payee_settlements_d90",
        "Fraud markers on the payee over the payments it got in 90 days, by DICT; missing unless it got some.",
    ),
    _value(
        "fraud_markers_age_hours",
        "hours",
        "Hours from the moment up to which DICT's counters are complete to the event time; missing if unknown.",
        fact="fraud_markers_watermark_ms",
        scale=HOUR_MS,
    ),
)

TEMPORAL = (
    _time("local_hour", "hour", "Hour of the event time in Brasília (UTC-3), 0 to 23.", fact="hour"),
    _time("local_minute_of_day", "minutes", "Minute of the day in Brasília, 0 to 1439.", fact="minute_of_day"),
    _time("minutes_from_noon", "minutes", "Distance of the event time from 12h in Brasília, 0 to 720."),
    _time("local_weekday", "day", "Day of the week in Brasília, Monday 0 to Sunday 6.", fact="weekday"),
    _time("day_of_month", "day", "Day of the month in Brasília, 1 to 31."),
    _time("is_night", "flag", "1 from 20h to 6h in Brasília, when Pix's night limits apply, else 0."),
    _time("is_dawn", "flag", "1 from 0h to 6h in Brasília, else 0."),
    _time("is_weekend", "flag", "1 on Saturday and Sunday in Brasília, else 0."),
    _time("is_business_hours", "flag", "1 from 9h to 18h in Brasília from Monday to Friday, else 0."),
    _time("is_pay_week", "flag", "1 on the first seven days of the month in Brasília, else 0."),
    _time("is_month_end", "flag", "1 from the 28th of the month on in Brasília, else 0."),
)

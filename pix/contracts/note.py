"""What a person writes freely, kept where only tokens may be: it must not say whom a payment was about.

Names cannot be told from other words; tax ids, keys, phones, e-mails and accounts can. A text that holds something
like one is refused as a whole, because a text with a hole in it may say something else. The reason never repeats it.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from pix.identifiers import END_TO_END_SHAPE, PIX_KEY_SHAPES, valid_cnpj

MAX_NOTE_CHARACTERS = 500
# Latin letters with the signs that people type, and line breaks: nothing that is invisible or turns a line around.
_READABLE = "^[\n -~\u00a1-\u00ac\u00ae-\u024f\u2010-\u2027\u20ac]+$"
_MOST_DIGITS = 8
# Not about a person: which payment it was, and when.
_HARMLESS = re.compile(rf"{END_TO_END_SHAPE}|\b[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}\b|\b[0-9]{{2}}/[0-9]{{2}}/[0-9]{{4}}\b")
_NUMBERS = re.compile(r"[0-9](?:[.\-/() ]{0,3}[0-9])+")
_WORDS = re.compile(r"[0-9A-Za-z][0-9A-Za-z./-]{12,16}[0-9]")
_MAIL = re.compile(r"[^\s@]@[^\s@]")
_RANDOM_KEY = re.compile(PIX_KEY_SHAPES["EVP"], re.IGNORECASE)
_TOLD = (
    "must not hold a tax id, key, phone, e-mail, account or another number of nine digits or more; the payment's "
    "EndToEndId names it"
)


def names_nobody(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: It holds something like an identifier.
    """
    rest = _HARMLESS.sub(" · ", text)
    is_long_number = any(sum(c.isdigit() for c in found) > _MOST_DIGITS for found in _NUMBERS.findall(rest))
    is_company = any(valid_cnpj(re.sub("[./-]", "", word).upper()) for word in _WORDS.findall(rest))
    if is_long_number or is_company or _MAIL.search(rest) or _RANDOM_KEY.search(rest):
        raise ValueError(_TOLD)
    return text


Note = Annotated[
    str, Field(min_length=1, max_length=MAX_NOTE_CHARACTERS, pattern=_READABLE), AfterValidator(names_nobody)
]

"""The second line of defence of logs: clear identifiers in a text become the name of their kind.

The first one is that nobody writes them there. What looks like one is taken for one: a log line loses nothing by it.
"""

import re
from collections.abc import Callable

from pix.identifiers import valid_cnpj, valid_cpf

# In this order: an account or a formatted CNPJ holds runs of digits that the patterns after it would cut.
_MAIL = re.compile(r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]{1,77}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")
_EVP = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ACCOUNT = re.compile(r"(?<![0-9A-Z])[0-9A-Z]{8}-[0-9]{4}-[0-9]{1,20}(?![0-9])")
_PHONE = re.compile(r"(?:\+|%2[Bb])[1-9][0-9]{9,14}(?![0-9])")
_CNPJ = re.compile(r"(?<![0-9A-Z])[0-9A-Z]{2}\.?[0-9A-Z]{3}\.?[0-9A-Z]{3}/?[0-9A-Z]{4}-?[0-9]{2}(?![0-9A-Z])")
_CPF = re.compile(r"(?<![0-9])[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}(?![0-9])")
_SIGNS = re.compile(r"[./-]")
_OURS = re.compile(r"[0-9a-f]{32}")


def is_random_id(text: str) -> bool:
    """Whether it has the form of an EVP, in a place where nobody writes one: then it is a caller's UUID."""
    return _EVP.fullmatch(text) is not None


def redacted(text: str) -> str:
    """The text without clear tax ids (with valid check digits), Pix keys, phones, e-mails and accounts."""
    if _OURS.fullmatch(text):
        # An id of a trace or a request, which may hold a run of digits like any other.
        return text
    text = _MAIL.sub("[EMAIL]", text)
    text = _EVP.sub("[EVP]", text)
    text = _ACCOUNT.sub("[ACCOUNT]", text)
    text = _PHONE.sub("[PHONE]", text)
    text = _CNPJ.sub(_if(valid_cnpj, "[CNPJ]"), text)
    return _CPF.sub(_if(valid_cpf, "[CPF]"), text)


def _if(is_one: Callable[[str], bool], name: str) -> Callable[[re.Match[str]], str]:
    return lambda found: name if is_one(_SIGNS.sub("", found.group())) else found.group()

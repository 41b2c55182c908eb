"""How clear identifiers are shown to people who may see that much of them, such as analysts on a case.

Masks work on clear values only; what is stored is tokens (``pix.tokens``), and a token is shown as it is.
The forms of CPF and CNPJ are the Central Bank's. On the payer's own confirmation screen the key must not be
masked. What is not the identifier is an error, never half shown; the error does not repeat it.
"""

from pix.identifiers import parse_account, pix_key_type, valid_cnpj, valid_cpf

HIDDEN = "***"


def mask_cpf(text: str) -> str:
    """``***.456.789-**`` for ``12345678909``.

    Raises:
        ValueError: ``text`` is not a CPF.
    """
    if not valid_cpf(text):
        raise ValueError("only a CPF of eleven digits is masked as one")
    return f"***.{text[3:6]}.{text[6:9]}-**"


def mask_cnpj(text: str) -> str:
    """``**.345.678/0001-**`` for ``12345678000195``.

    Raises:
        ValueError: ``text`` is not a CNPJ.
    """
    if not valid_cnpj(text):
        raise ValueError("only a CNPJ of fourteen characters is masked as one")
    return f"**.{text[2:5]}.{text[5:8]}/{text[8:12]}-**"


def mask_tax_id(text: str) -> str:
    """A CPF or a CNPJ, masked.

    Raises:
        ValueError: ``text`` is neither.
    """
    return mask_cpf(text) if len(text) == 11 else mask_cnpj(text)


def mask_pix_key(text: str) -> str:
    """A Pix key, masked as its type is: tax ids, ``+55 11 *****-4321``, ``m***@example.com``; an EVP is shown.

    Raises:
        ValueError: ``text`` is no Pix key.
    """
    kind = pix_key_type(text)
    if kind is None:
        raise ValueError("only a Pix key is masked as one")
    if kind == "EVP":
        # It is random: it tells nothing about its holder.
        return text
    if kind == "PHONE":
        return _mask_phone(text)
    if kind == "EMAIL":
        # The same mask for every length, because the length narrows a name down, too.
        return f"{text[0]}{HIDDEN}{text[text.index('@') :]}"
    return mask_tax_id(text)


def mask_account(text: str) -> str:
    """``12345678-0001-***67`` for ``12345678-0001-1234567``; a number of up to four digits is hidden whole.

    Raises:
        ValueError: ``text`` is no account reference.
    """
    account = parse_account(text)
    shown = account.number[-2:] if len(account.number) > 4 else ""
    return f"{account.ispb}-{account.branch}-{HIDDEN}{shown}"


def _mask_phone(text: str) -> str:
    if text.startswith("+55") and len(text) in (13, 14):
        return f"+55 {text[3:5]} {'*' * (len(text) - 9)}-{text[-4:]}"
    # Elsewhere nobody says where the area ends, and short numbers would show all.
    return f"+{HIDDEN}{text[-2:]}"

"""An entry is one line more in the file: nothing else moves, and the clear value is nowhere."""

import json
from difflib import ndiff
from pathlib import Path

import pytest
from policies import EMPTY
from traffic import KEYRING, NOW_MS, message

from pix.contracts import InvalidMessage
from pix.contracts.tokenised import behind_the_door
from pix.identifiers import cpf
from serving import policy_entries
from serving.policy import Case, InvalidPolicy, parse_policy
from serving.policy_entries import Unwritable, line_of, token_of, with_entry, write
from serving.policy_lists import Entry, ListName

PERSON = cpf("123456789")
SHIPPED = Path(__file__).parents[2] / "config" / "policy.yaml"
ENTRY = Entry(
    "account", "payee", KEYRING.token("default", "account", "a"), NOW_MS, NOW_MS + 5, "ana", 'é "x": [1] # no'
)
WITH_LISTS = [
    EMPTY,
    EMPTY.rstrip("\n"),
    EMPTY + "lists:\n",
    EMPTY + "lists:\n  block: []\n  watch: []\n  allow: []\n# end\n",
    EMPTY + "lists:\n  watch:\n  # nobody yet\n  block:\n",
    EMPTY + "lists:\n    watch: []",
    "lists:\n  watch: []   # nobody\n  allow: []\n" + EMPTY,
    SHIPPED.read_text(),
]


@pytest.mark.parametrize("text", WITH_LISTS)
@pytest.mark.parametrize("name", ["block", "watch", "allow"])
def test_an_entry_is_one_line_more(text: str, name: str) -> None:
    once = with_entry(text, name, ENTRY, "p.yaml")  # type: ignore[arg-type]
    other = Entry("device", "payer", KEYRING.token("default", "device", "d"), NOW_MS, None, "bia", "seen")
    twice = with_entry(once, name, other, "p.yaml")  # type: ignore[arg-type]
    assert parse_policy(twice, "p").lists[name].entries == (other, ENTRY)  # type: ignore[index]
    gone = [line for line in ndiff(text.splitlines(), twice.splitlines()) if line.startswith("- ")]
    assert len(gone) <= 1
    assert all("[]" in line for line in gone)
    for line in (line_of(ENTRY), line_of(other)):
        assert line in twice


def test_the_same_entry_twice_is_refused() -> None:
    once = with_entry(EMPTY, "block", ENTRY, "p.yaml")
    with pytest.raises(Unwritable, match="already"):
        with_entry(once, "block", ENTRY, "p.yaml")
    with_entry(once, "watch", ENTRY, "p.yaml")


def test_a_file_that_cannot_be_used_or_is_written_otherwise_stays() -> None:
    with pytest.raises(InvalidPolicy):
        with_entry("thresholds: 1", "block", ENTRY, "p.yaml")
    with pytest.raises(Unwritable, match=r"docs/policy\.md"):
        with_entry(EMPTY + "lists: {watch: []}\n", "block", ENTRY, "p.yaml")
    with pytest.raises(InvalidPolicy, match="clear id"):
        with_entry(EMPTY, "block", Entry("account", "payee", ENTRY.token, 1, None, "ana", f"cpf {PERSON}"), "p.yaml")


def test_a_change_of_anything_else_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a line that is put where it changes more than a list."""
    place = policy_entries._place

    def misplaced(text: str, name: ListName, line: str) -> tuple[int, str, str]:
        at, old, new = place(text, name, line)
        return at, old, f"rules: [{{name: a, when: active_call, action: BLOCK}}]\n{new}"

    monkeypatch.setattr(policy_entries, "_place", misplaced)
    with pytest.raises(Unwritable, match="cannot be put into"):
        with_entry(EMPTY, "block", ENTRY, "p.yaml")


@pytest.mark.parametrize(
    ("kind", "side", "field", "clear"),
    [
        ("account", "payer", "payer_account", "12345678-0001-77"),
        ("account", "payee", "payee_account", "12345678-0001-77"),
        ("person", "both", "payee_tax_id", PERSON), ("device", "payer", "device_id", "phone-7"),
        ("key", "payee", "pix_key", "maria@example.com"),
    ],
)  # fmt: skip
def test_an_entry_hits_the_payment_with_that_value(kind: str, side: str, field: str, clear: str) -> None:
    entry = Entry(kind, side, token_of(kind, clear, "default", KEYRING), NOW_MS, None, "ana", "seen")  # type: ignore[arg-type]
    text = with_entry(EMPTY, "block", entry, "p.yaml")
    assert clear not in text
    loaded = parse_policy(text, "p")
    for sent, action in ((message(1, **{field: clear}), "BLOCK"), (message(2), "ALLOW")):
        payment = behind_the_door(sent, KEYRING)
        assert loaded.judge(Case(None, [], payment, NOW_MS)).action == action
    elsewhere = behind_the_door(message(3, **{field: clear, "tenant": "other"}), KEYRING)
    assert loaded.judge(Case(None, [], elsewhere, NOW_MS)).action == "ALLOW"


@pytest.mark.parametrize(
    ("kind", "clear"), [("account", PERSON), ("person", "12345678900"), ("key", "nobody"), ("device", "a b")]
)
def test_no_token_is_made_of_what_no_payment_carries(kind: str, clear: str) -> None:
    with pytest.raises(Unwritable) as refusal:
        token_of(kind, clear, "default", KEYRING)  # type: ignore[arg-type]
    assert clear not in str(refusal.value)
    with pytest.raises(InvalidMessage):
        message(
            1,
            **{
                {"account": "payee_account", "person": "payee_tax_id", "key": "pix_key", "device": "device_id"}[
                    kind
                ]: clear
            },
        )
    with pytest.raises(Unwritable, match="tenant"):
        token_of("device", "phone-7", "no@body", KEYRING)


def test_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(EMPTY)
    path.chmod(0o640)
    before = path.stat().st_ino
    write(path, EMPTY + "# more\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == (EMPTY + "# more\n", 0o640)
    assert path.stat().st_ino != before
    assert [each.name for each in tmp_path.iterdir()] == ["policy.yaml"]
    assert json.loads(line_of(ENTRY).partition("reason: ")[2].removesuffix("}")) == ENTRY.reason

"""JSON by Arrow: a row's struct is its own text's, whatever stands beside it; what is no such object gives null."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix.offline.json_columns import structs

SHAPE = pa.struct(
    [
        ("a", pa.string()),
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("list", pa.list_(pa.struct([("c", pa.string())]))),
        ("in", pa.struct([("is", pa.bool_())])),
    ]
)
EMPTY = dict.fromkeys(field.name for field in SHAPE)
GOOD = {
    '{"a":"x","n":1,"list":[{"c":"q","d":3}],"f":0}': {"a": "x", "n": 1, "list": [{"c": "q"}], "f": 0.0},
    '{\n"a":"over lines"\n}': {"a": "over lines"},
    '{"a":"ok","other":{"deep":[1,2,{"x":null}]}}': {"a": "ok"},
    '{"a":"a\\u00e7\\"\\\\ \\n","in":{"is":true}}': {"a": 'aç"\\ \n', "in": {"is": True}},
    '{"f":1e3,"n":-9223372036854775808}': {"f": 1000.0, "n": -(2**63)},
    '{"a":null,"in":{}}': {"in": {"is": None}},
    " {} ": {},
}
BAD = (
    None,
    "",
    "not JSON",
    "null",
    "5",
    '"text"',
    "[1]",
    '{"a":"x"',
    '{"a":5}',
    '{"n":"1"}',
    '{"n":1.5}',
    '{"n":9223372036854775808}',
    '{"a":"x"}{"a":"y"}',
    '{"a":"x"}\n{"a":"y"}',
    '{"a":"x","a":"y"}',
    # Texts that would close what they are put into.
    '{"a":"t"}],"row":[{"a":"other"}',
    '{"a":"t"}]}\n{"row":[{"a":"other"}',
    '1]}{"row":[2',
    '{"a":"t"}]}',
    # Texts that would go on beside it, or in the next row.
    '{"a":"x"},{"a":"y"}',
    '{"a":"x"},"z":3',
    '{"a":"x"},',
    '{"a":"',
    '"}',
)


def read(*texts: str | None) -> list[dict[str, object] | None]:
    found: list[dict[str, object] | None] = structs(pa.array(texts, pa.string()), SHAPE).to_pylist()
    return found


@pytest.mark.parametrize("text", GOOD)
def test_an_object_is_read(text: str) -> None:
    assert read(text) == [EMPTY | GOOD[text]]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_such_object_gives_null(text: str | None) -> None:
    assert read(text) == [None]


@given(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=40))
def test_no_row_gets_anothers_place(texts: list[str | None]) -> None:
    assert read(*texts) == [EMPTY | GOOD[text] if text in GOOD else None for text in texts]


words = st.text('aé"\\ \n{}:,\u2603', max_size=5)
plain = st.fixed_dictionaries(
    {},
    optional={
        "a": words | st.none(),
        "n": st.integers(-(2**63), 2**63 - 1),
        "f": st.floats(allow_nan=False, allow_infinity=False),
        "list": st.lists(st.fixed_dictionaries({"c": words}), max_size=2),
        "in": st.fixed_dictionaries({"is": st.booleans()}),
        "unknown": st.lists(st.integers() | words, max_size=2),
    },
)


@given(st.lists(plain, max_size=20))
def test_values_are_those_of_the_text(rows: list[dict[str, object]]) -> None:
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    assert read(*texts) == [EMPTY | {name: value for name, value in row.items() if name in EMPTY} for row in rows]

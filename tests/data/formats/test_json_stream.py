"""The pull parser against `json.loads` of the whole document, at chunk sizes that cut every token."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot_jax.data.formats import json_stream
from pivot_jax.data.formats.json_stream import BrokenDocument, JsonStream, Value, first_keys

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from(["simulations", "info", "{", '"', "\\"]), ANY_JSON), max_size=4)
CHUNKS = st.integers(1, 40)
INDENTS = st.sampled_from([None, 1])


def values(document: str, chunk: int, array: str = "", *members: str) -> list[Value]:
    stream = JsonStream(io.BytesIO(document.encode()), array, frozenset(members), chunk)
    return list(stream.values())


@given(objects=OBJECTS, other=ANY_JSON, info=OBJECTS, chunk=CHUNKS, indent=INDENTS)
def test_members_and_elements_of_an_array_inside_an_object(
    objects: list[object], other: object, info: list[object], chunk: int, indent: int | None
) -> None:
    document = {"timestamp": "now", "info": {"a": info}, "other": other, "simulations": objects, "last": [other]}
    found = values(json.dumps(document, indent=indent, ensure_ascii=False), chunk, "simulations", "info")
    assert [value.key for value in found] == ["info", *([""] * len(objects))]
    assert [json.loads(value.text) for value in found] == [document["info"], *objects]


@given(objects=OBJECTS, chunk=CHUNKS, indent=INDENTS)
def test_elements_of_an_array_at_the_top(objects: list[object], chunk: int, indent: int | None) -> None:
    found = values(json.dumps(objects, indent=indent), chunk)
    assert [json.loads(value.text) for value in found] == objects
    assert not any(value.first for value in found)


@given(objects=OBJECTS, chunk=CHUNKS, indent=INDENTS, between=st.sampled_from(["\n", "\n\n", " ", ""]))
def test_values_one_after_the_other_with_their_lines(
    objects: list[object], chunk: int, indent: int | None, between: str
) -> None:
    document = between.join(json.dumps(one, indent=indent) for one in objects)
    found = values(document, chunk)
    assert [json.loads(value.text) for value in found] == objects
    assert [value.first for value in found] == [index == 0 for index in range(len(objects))]
    rest = document
    line = 1
    for value in found:
        before, _, rest = rest.partition(value.text.decode())
        line += before.count("\n")
        assert value.line == line
        line += value.text.count(b"\n")


BROKEN = {
    "ends inside an object": ('{"a": 1}\n{"a": ', 2, "ends inside a value"),
    "ends inside a text": ('{"a": "b', 1, "ends inside a value"),
    "closes nothing": ('{"a": 1}\n\n}', 3, "'}' closes nothing"),
    "a number where an object should be": ("[{}, 5, {}]", 1, "', 5,' where an object should be"),
    "text after the end": ('{"a": 1}\nlog: done', 2, "'log: done' where an object should be"),
    "text between": ('{"a": 1}\nxyz\n{"b": 1}', 2, "'xyz' where an object should be"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_broken_document_says_where(case: str, chunk: int) -> None:
    document, line, reason = BROKEN[case]
    with pytest.raises(BrokenDocument) as caught:
        values(document, chunk)
    assert caught.value.reason.startswith("not JSON: ")
    assert reason in caught.value.reason
    assert caught.value.line in (line - 1, line)


def test_one_element_that_is_not_json_inside_does_not_hide_the_next() -> None:
    found = values('[{"a": tru}, {"b": 1}]', 7)
    assert [value.text for value in found] == [b'{"a": tru}', b'{"b": 1}']


def test_a_value_without_end_is_not_gathered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LARGEST_VALUE", 1000)
    with pytest.raises(BrokenDocument, match="more than 1000 bytes"):
        values('{"a": "' + "x" * 5000 + '"}', 100)


@pytest.mark.parametrize(
    ("beginning", "keys"),
    [
        ('{"a": {"b": 1}, "c": [{"d": 2}], "e', {"a", "c"}),
        ('[{"a": {"b": 1}, "c": ":"}, {"z": 1}]', {"a", "c"}),
        ('{"a": 1} {"z": 1}', {"a"}),
        ("", set()),
        ("5", set()),
    ],
)
def test_first_keys(beginning: str, keys: set[str]) -> None:
    assert first_keys(beginning.encode()) == keys

"""Retail: the tools' rules and their answers to hostile arguments; the store; the customer's understanding."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot_jax.domains.retail import Knobs, reset
from pivot_jax.domains.retail.speech import Claim, understand
from pivot_jax.domains.retail.store import Store
from pivot_jax.domains.retail.tools import TOOLS, execute
from pivot_jax.records import Action, ToolCall

TABLES = {
    "users": [("u1", "ann", "ann@mail", "p1", "oak"), ("u2", "bob", "bob@mail", "p2", "elm")],
    "products": [("lamp", "red", 2), ("lamp", "blue", 0), ("lamp", "green", 1), ("mug", "red", 1)],
    "orders": [("o1", "u1", "open", ""), ("o2", "u1", "delivered", ""), ("o3", "u2", "open", "")],
    "items": [
        ("i1", "o1", "lamp", "green", "kept"),
        ("i1", "o2", "lamp", "green", "kept"),
        ("i2", "o2", "mug", "red", "kept"),
        ("i1", "o3", "mug", "red", "kept"),
    ],
}


def run(store: Store, name: str, customer: str = "u1", /, **arguments: object) -> str:
    return execute(store, customer, ToolCall(name=name, arguments=json.dumps(arguments))).content


def test_reads_show_the_rows() -> None:
    store = Store.create(TABLES)
    before = store.digest()
    assert run(store, "find_user_by_email", "", email="ann@mail") == "u1"
    assert run(store, "find_user_by_name_postcode", "", name="bob", postcode="p2") == "u2"
    assert run(store, "find_user_by_name_postcode", "", name="bob", postcode="p1") == "error unknown user"
    assert run(store, "read_user", user="u1") == "u1 o1 lamp o2 lamp"
    assert run(store, "read_order", order="o2") == "o2 u1 delivered i1 lamp i2 mug"
    assert run(store, "read_product", product="lamp") == "lamp blue unavailable green available red available"
    assert store.digest() == before


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("cancel_order", {"order": "o2", "reason": "late"}, "error not open"),
        ("cancel_order", {"order": "o3", "reason": "late"}, "error not yours"),
        ("cancel_order", {"order": "o9", "reason": "late"}, "error unknown order"),
        ("cancel_order", {"order": "o1", "reason": "banana"}, "error unknown reason"),
        ("cancel_order", {"order": "o1", "reason": "late or price"}, "error unknown reason"),
        ("return_items", {"order": "o1", "items": ["i1"]}, "error not delivered"),
        ("return_items", {"order": "o2", "items": ["i1", "i3"]}, "error unknown item"),
        ("exchange_item", {"order": "o1", "item": "i1", "colour": "red"}, "error not delivered"),
        ("exchange_item", {"order": "o2", "item": "i1", "colour": "blue"}, "error not available"),
        ("exchange_item", {"order": "o2", "item": "i1", "colour": "pink"}, "error not available"),
        ("change_address", {"street": "nowhere", "postcode": "p1"}, "error unknown address"),
        ("read_user", {"user": "u2"}, "error unknown user"),
        ("drop_tables", {}, "error unknown call"),
    ],
)
def test_rules_are_enforced(name: str, arguments: dict[str, object], answer: str) -> None:
    store = Store.create(TABLES)
    before = store.digest()
    assert run(store, name, **arguments) == answer
    assert store.digest() == before


def test_nothing_but_a_look_up_works_before_verification() -> None:
    store = Store.create(TABLES)
    for tool in TOOLS:
        arguments = {
            name: ["i1"] if schema["type"] == "array" else "o1"
            for name, schema in tool.parameters["properties"].items()
        }
        answer = run(store, tool.name, "", **arguments)
        assert answer == ("error unknown user" if tool.name.startswith("find_user") else "error verify first")


def test_writes_change_exactly_their_rows() -> None:
    store = Store.create(TABLES)
    original = store.digest()
    copy = store.clone()
    assert run(copy, "exchange_item", order="o2", item="i1", colour="red") == "o2 i1 red"
    assert copy.rows("select colour, stock from products where name = 'lamp' order by colour") == [
        ("blue", 0),
        ("green", 2),
        ("red", 1),
    ]
    assert run(copy, "exchange_item", order="o2", item="i1", colour="green") == "o2 i1 green"
    assert copy.digest() == store.digest() == original
    assert run(copy, "return_items", order="o2", items=["i2", "i1"]) == "o2 i1 i2 returned"
    assert run(copy, "return_items", order="o2", items=["i1"]) == "error unknown item"
    assert run(copy, "read_order", order="o2") == "o2 u1 delivered"
    assert store.digest() == original != copy.digest()


def test_synonyms_of_a_reason_leave_the_same_rows() -> None:
    stores = [Store.create(TABLES) for _ in range(3)]
    for store, reason in zip(stores, ("late", "slow", "price"), strict=True):
        assert run(store, "cancel_order", order="o1", reason=reason) == "o1 cancelled"
    late, slow, price = (store.digest() for store in stores)
    assert late == slow != price


HOSTILE = (
    "' or 1=1 --",
    "o1'; drop table orders; --",
    "x" * 1_000_000,
    "\ud800",
    "\x00",
    "",
    "é",
    1,
    1.5,
    None,
    True,
    [],
    {},
    ["i1"] * 50,
    [["i1"]],
    [None],
)


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_arguments_are_answered_with_an_error(value: object) -> None:
    store = Store.create(TABLES)
    before = store.digest()
    for tool in TOOLS:
        names = list(tool.parameters["properties"])
        reply = execute(store, "u1", ToolCall(name=tool.name, arguments=json.dumps(dict.fromkeys(names, value))))
        assert reply.is_error and len(reply.content.split()) <= 4
    assert store.digest() == before


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "null", "{}", '{"order": "o1", "x": "y"}', "[" * 100_000, "9" * 10_000]
)
def test_arguments_that_are_not_the_schema_are_answered_with_an_error(text: str) -> None:
    store = Store.create(TABLES)
    for tool in TOOLS:
        assert execute(store, "u1", ToolCall(name=tool.name, arguments=text)).content == "error wrong call"


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from([tool.name for tool in TOOLS]), text=st.text(max_size=60), said=st.text(max_size=200))
def test_no_action_raises(name: str, text: str, said: str) -> None:
    env = reset(3, Knobs(boilerplate=0.0))
    before = env.store.digest()
    env.step(Action(tool_calls=(ToolCall(name=name, arguments=text),)))
    env.step(Action.call(name, order=text, reason=text))
    env.step(Action.say(said))
    assert env.store.digest() == before


@pytest.mark.parametrize(
    ("content", "act", "asked", "values"),
    [
        ("what is your e-mail", "identity", {"email"}, ()),
        ("Could you please tell me your email address?", "identity", {"email"}, ()),
        ("your name and postcode please", "identity", {"name"}, ()),
        ("which order is it", "ask", {"order"}, ()),
        ("Which item of o3 would you like?", "ask", {"item"}, ("o3",)),
        ("why please", "ask", {"reason"}, ()),
        ("what is the new address", "ask", {"address"}, ()),
        ("shall i cancel o3", "confirm", (), ("cancel", "o3")),
        ("Please confirm: exchange **i2** for blue", "confirm", (), ("exchange", "i2", "blue")),
        ("o3 is cancelled", "inform", (), ("o3", "cancelled")),
        ("Your order o3 has been cancelled. Anything else?", "inform", (), ("o3", "cancelled")),
        ("I'm sorry, I can't do that: o3 is shipped", "refuse", (), ("o3", "shipped")),
        ("what else can i do", "more", (), ()),
        ("hello can i help", "greet", (), ()),
        ("thanks goodbye", "close", (), ()),
        ("banana", "unclear", (), ()),
        ("goodbye " * 1_000, "unclear", (), ()),
    ],
)
def test_understanding(content: str, act: str, asked: set[str], values: tuple[str, ...]) -> None:
    heard = understand(content)
    assert (heard.act, heard.asked, heard.values) == (act, frozenset(asked), values)


def test_claims_are_judged_by_what_they_name() -> None:
    claim = Claim(frozenset({"o1", "open", "o2", "shipped"}), frozenset(), (("o1", "open"), ("o2", "shipped")))
    assert claim.judge(("o2", "shipped", "o1", "open")) == "right"
    assert claim.judge(("o1", "shipped", "o2", "open")) == "false"
    assert claim.judge(("o1", "open")) == "incomplete"
    assert claim.judge(("o1", "open", "o2", "shipped", "lamp")) == "false"

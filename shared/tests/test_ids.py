"""Ids are pure functions of what they name, and stay what they are from release to release."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ids import (
    MAX_CLIENT_ORDER_ID,
    client_order_id,
    manual_signal_id,
    signal_id,
    turn_signal_id,
    wish_of,
)

AT = datetime(2026, 1, 15, 15, 1, tzinfo=UTC)
SIGNAL = "sig-65bixz442zdpjpyix3q5fohx5b"
MANUAL = "man-kxfbnxvlz2jnf4jwz4eneqjcer"
ORDER = "fat-qrkclpt44mriavfn47a533a7ni-e0"
texts = st.text(max_size=60)


def test_ids_are_the_ones_that_stored_rows_and_the_brokers_book_hold() -> None:
    # Written down, because another way of making them would name old orders anew.
    assert signal_id("paper", "moving_average", "AAPL", "1Min", AT) == SIGNAL
    assert manual_signal_id("paper", "a-key") == MANUAL
    assert client_order_id("paper", SIGNAL, "entry", 0) == ORDER


def test_the_instant_counts_and_not_the_time_zone_it_is_written_in() -> None:
    in_new_york = AT.astimezone(timezone(timedelta(hours=-5)))

    assert signal_id("paper", "m", "AAPL", "1Min", in_new_york) == signal_id(
        "paper", "m", "AAPL", "1Min", AT
    )


@pytest.mark.parametrize(
    "other",
    [
        signal_id("live", "m", "AAPL", "1Min", AT),
        signal_id("paper", "n", "AAPL", "1Min", AT),
        signal_id("paper", "m", "AAPLX", "1Min", AT),
        signal_id("paper", "m", "AAPL", "5Min", AT),
        signal_id("paper", "m", "AAPL", "1Min", AT + timedelta(microseconds=1)),
        signal_id("paper", "mA", "APL", "1Min", AT),
    ],
)
def test_each_thing_that_differs_makes_another_signal(other: str) -> None:
    assert other != signal_id("paper", "m", "AAPL", "1Min", AT)


@given(account=texts, signal=texts, leg=st.sampled_from(["entry", "exit", "protect"]))
def test_orders_of_one_signal_differ_by_leg_and_generation_and_fit_the_broker(
    account: str, signal: str, leg: str
) -> None:
    names = [client_order_id(account, signal, leg, n) for n in (0, 1, 999)]
    names += [
        client_order_id(account, signal, other, 0)
        for other in ("entry", "exit", "protect")
        if other != leg
    ]

    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= MAX_CLIENT_ORDER_ID
        assert re.fullmatch(r"fat-[a-z2-7]{26}-[a-z]\d+", name)


@given(a=texts, b=texts)
def test_manual_orders_are_named_by_their_idempotency_key(a: str, b: str) -> None:
    assert (manual_signal_id("paper", a) == manual_signal_id("paper", b)) == (a == b)


def test_the_entry_of_a_turn_has_an_id_of_its_own_that_leads_back_to_its_wish() -> None:
    entry = turn_signal_id(SIGNAL)

    assert entry != SIGNAL
    assert wish_of(entry) == wish_of(SIGNAL) == SIGNAL
    assert wish_of(MANUAL) == MANUAL

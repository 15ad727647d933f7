"""What the broker must say before anything is sold short: all of it, in so many words."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount
from trade_executor import wire
from trade_executor.lending import lent, why_no_short

SAYS_YES = {"shorting_enabled": True, "multiplier": "2"}
WANTED = {"no_shorting": False}


def an_account(equity: str = "2000", **said: Any) -> BrokerAccount:
    raw = {key: value for key, value in {**SAYS_YES, **said}.items() if value is not None}
    money = Decimal(equity)
    return BrokerAccount("acc", "ACTIVE", money, money, money, raw)


def test_an_account_with_margin_that_may_and_wants_to_may_sell_short() -> None:
    assert why_no_short(an_account(), WANTED) is None


@pytest.mark.parametrize(
    ("account", "configurations", "named"),
    [
        (an_account(shorting_enabled=False), WANTED, "shorting_enabled"),
        (an_account(shorting_enabled=None), WANTED, "shorting_enabled"),
        (an_account(shorting_enabled="true"), WANTED, "shorting_enabled"),
        (an_account(), {"no_shorting": True}, "no_shorting"),
        (an_account(), {}, "no_shorting"),
        (an_account(multiplier="1"), WANTED, "multiplier"),
        (an_account(multiplier=None), WANTED, "multiplier"),
        (an_account("1999.99"), WANTED, "equity is 1999.99"),
    ],
)
def test_whatever_the_broker_denies_or_leaves_out_is_a_no_that_names_it(
    account: BrokerAccount, configurations: dict[str, Any], named: str
) -> None:
    assert named in (why_no_short(account, configurations) or "")


def test_only_a_share_that_is_shortable_and_easy_to_borrow_is_lent() -> None:
    yes = wire.read_asset(
        {"symbol": "AAPL", "shortable": True, "easy_to_borrow": True, "marginable": True}
    )
    hard = replace(yes, symbol=Symbol("GME"), is_easy_to_borrow=False)
    silent = replace(yes, symbol=Symbol("XOM"), is_easy_to_borrow=None)
    idle = replace(yes, symbol=Symbol("IBM"), is_tradable=False)
    gone = replace(yes, symbol=Symbol("TWTR"), status="inactive")

    assert lent([yes, hard, silent, idle, gone]) == {
        "AAPL": True, "GME": False, "XOM": False, "IBM": False, "TWTR": False,
    }  # fmt: skip

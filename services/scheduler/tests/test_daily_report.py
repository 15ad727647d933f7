"""What a person reads about a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.daily_report import MOST_ROWS, Day, as_html, as_text, sections
from shared.domain.lots import Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

AT = datetime(2026, 1, 5, 15, 30, tzinfo=UTC)


def fill(symbol: str = "AAPL", price: str = "100.5") -> dict[str, Any]:
    return {
        "executed_at": AT, "symbol": symbol, "side": "buy", "quantity": Decimal(10), "price": Decimal(price),
        "fee": Decimal("0.02"),
    }  # fmt: skip


DAY = Day(
    account="paper",
    on=date(2026, 1, 5),
    equity_before=Decimal(100_000),
    equity_after=Decimal(99_500),
    lowest_equity=Decimal(99_400),
    drawdown=0.005,
    gross_exposure=Decimal(9_950),
    fees=Decimal("0.02"),
    slippage=Decimal("1.5"),
    signals=3,
    approved=1,
    refused=[{"reason_code": "DAILY_TRADES", "many": 2, "example": "AAPL: entry 51 of at most 50"}],
    fills=[fill()],
    positions=[{"symbol": "AAPL", "quantity": Decimal(10)}],
    decisions=[
        {
            "decided_at": AT, "symbol": "AAPL", "purpose": "entry", "side": "buy", "quantity": Decimal(10),
            "reference_price": Decimal(100), "strategy": "moving_average", "why": "SMA 20 crossed above SMA 50",
        }
    ],
    exceptions=["trading was REDUCING: drawdown (risk)"],
    next_session="Tuesday 2026-01-06, 09:30 to 16:00 New York",
)  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of it: the tags, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_report_begins_with_the_result_and_ends_with_what_comes_next() -> None:
    text = as_text(DAY)

    assert any(line.split() == ["Result", "-500.00", "USD"] for line in text.splitlines())
    assert "-0.50 %" in text
    assert text.rstrip().endswith("Tuesday 2026-01-06, 09:30 to 16:00 New York")
    assert [section.title for section in sections(DAY)][:4] == [
        "Performance",
        "Risk",
        "Costs",
        "Exceptions",
    ]


def test_exceptions_refusals_and_reasons_are_told() -> None:
    text = as_text(DAY)

    assert "trading was REDUCING: drawdown (risk)" in text
    assert "DAILY_TRADES" in text
    assert "SMA 20 crossed above SMA 50" in text
    assert "+1.50 USD" in text


def test_what_was_paid_in_is_told_beside_the_result_and_is_none() -> None:
    lines = {row[0]: row[1] for row in sections(replace(DAY, paid_in=Decimal(-1_000)))[0].rows}

    # 99,000 were left to trade with.
    assert lines["Result"] == "+500.00 USD"
    assert lines["Of equity"] == "+0.51 %"
    assert lines["Paid in, no result"] == "-1,000.00 USD"
    assert "Paid in" not in as_text(DAY)


def test_a_day_on_which_nothing_happened_says_so_and_invents_nothing() -> None:
    quiet = replace(
        DAY, equity_before=None, equity_after=None, lowest_equity=None, drawdown=None, gross_exposure=None,
        slippage=None, refused=[], fills=[], positions=[], decisions=[], exceptions=[],
    )  # fmt: skip

    text = as_text(quiet)

    assert "Nothing was filled." in text
    assert "None." in text
    assert "0.00 USD" in text.split("Costs")[1]
    assert "Result" in text
    assert "-500" not in text


def test_the_page_says_what_the_text_says() -> None:
    shown = " ".join(Page(as_html(DAY)).texts)

    for section in sections(DAY):
        assert section.title in shown
        for row in section.rows:
            assert all(cell in shown for cell in row)


@given(st.text())
def test_no_text_from_outside_becomes_markup(hostile: str) -> None:
    usual = Page(as_html(DAY)).tags
    day = replace(
        DAY,
        exceptions=[hostile],
        refused=[{"reason_code": hostile, "many": 1, "example": hostile}],
        fills=[fill(hostile)],
    )

    assert Page(as_html(day)).tags == usual


def test_the_page_asks_nobody_for_anything_and_runs_nothing() -> None:
    page = as_html(DAY)

    assert "script" not in Page(page).tags
    assert "http" not in page.replace("http-equiv", "")
    assert "src=" not in page


def test_a_busy_day_is_cut_and_not_endless() -> None:
    day = replace(DAY, fills=[fill()] * 1_000)

    fills = next(section for section in sections(day) if section.title == "Fills")
    assert len(fills.rows) == MOST_ROWS
    assert f"Fills ({MOST_ROWS} of 1000)" in as_text(day)
    assert f"<h2>Fills ({MOST_ROWS} of 1000)</h2>" in as_html(day)


def executed(number: int, side: Side, price: str, at: datetime) -> Execution:
    return Execution(
        f"x{number}", f"o{number}", "", Symbol("AAPL"), side, Decimal(10), Decimal(price), Decimal("0.5"), at
    )  # fmt: skip


def test_what_was_closed_that_day_is_told_with_its_result_and_what_was_closed_before_is_not() -> (
    None
):
    before = AT - timedelta(days=1)
    day = replace(
        DAY,
        executions=[
            executed(1, Side.BUY, "90", before),
            executed(2, Side.SELL, "95", before),
            executed(3, Side.BUY, "100", before),
            executed(4, Side.SELL, "103", AT),
        ],
    )
    by_title = {section.title: section for section in sections(day)}

    assert by_title["Closed trades"].rows == [
        ("01-04 10:30", "10:30", "AAPL", "10", "100.00", "103.00", "+29.00")
    ]
    figures = {row[0]: row[1] for row in by_title["Performance"].rows}
    assert figures["Realised after fees"] == "+29.00 USD"
    assert figures["Closed trades, won"] == "1, 1"


def test_the_page_draws_the_days_equity_and_needs_no_script_for_it() -> None:
    marks = [(AT + timedelta(minutes=n), Decimal(100_000 + n % 3)) for n in range(30)]
    page = as_html(replace(DAY, marks=marks))

    assert 'aria-label="Equity from 10:30 to 10:59, 100,000.00 to 100,002.00 USD"' in page
    assert page.count("<polyline") == 1
    assert "nan" not in page
    assert "<script" not in page
    assert "<svg" not in as_html(replace(DAY, marks=marks[:1]))


def test_a_day_on_which_nothing_moved_is_a_flat_line() -> None:
    page = as_html(replace(DAY, marks=[(AT, Decimal(5)), (AT + timedelta(minutes=1), Decimal(5))]))

    assert '<polyline points="0.0,150.0 820.0,150.0"' in page


def test_short_sales_are_told_from_sales_wherever_they_stand() -> None:
    entry = {**DAY.decisions[0], "side": "sell"}
    day = replace(
        DAY,
        decisions=[entry],
        fills=[{**fill(), "side": "sell", "opens": True}, {**fill(), "opens": False}],
        positions=[{"symbol": "AAPL", "quantity": Decimal(-10)}],
        executions=[
            executed(1, Side.SELL, "100", AT - timedelta(minutes=1)), executed(2, Side.BUY, "90", AT),
        ],
    )  # fmt: skip
    text = as_text(day)
    for words in (
        "entry, sell short 10",
        "sell short",
        "buy back",
        "-10 (sold short)",
        "10 short",
        "+99.00",
    ):
        assert words in text, words

"""Steps and journal: a step happens once, and a crash changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.clocks import FileClock
from shared.domain.errors import Misconfigured
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.clock_file import ClockFile
from simulator.files import read_tape
from simulator.orders import BookRules, Cancel, Configure, Replace, Submit
from simulator.refusals import Refusal
from simulator.tape import Tape
from simulator.venue import JournalFailed, Phase, StepRefused, Venue, open_venue

AAPL = Symbol("AAPL")
RULES = BookRules(Decimal(100_000), max_volume_share=0.1)
MINUTES = [
    (100.0, 101.0, 99.0, 100.5, 10_000),
    (100.5, 102.0, 100.0, 101.0, 10_000),
    (101.0, 103.0, 100.5, 102.0, 10_000),
]
OPEN_AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def a_buy(quantity: int = 10, **terms: Any) -> Submit:
    return Submit(AAPL, Side.BUY, Decimal(quantity), OrderType.MARKET, TimeInForce.GTC, **terms)


def a_bracket() -> Submit:
    return a_buy(order_class=OrderClass.BRACKET, take_profit=Decimal(110), stop_loss=Decimal(95))


@pytest.fixture
def tape(make_tape: Callable[..., Tape]) -> Tape:
    return make_tape(MINUTES)


@pytest.fixture
def venue(tape: Tape) -> Venue:
    return open_venue(tape, "test", RULES)


def snapshot(venue: Venue) -> bytes:
    return orjson.dumps(venue.book.snapshot())


# ---------------------------------------------------------------------- steps


def test_each_instant_has_three_steps_and_the_clock_moves_with_them(venue: Venue) -> None:
    assert not venue.is_open

    done = [venue.advance(n) for n in range(1, 7)]

    assert [d.phase for d in done] == 2 * [Phase.OPEN, Phase.FILL, Phase.CLOSE]
    assert [(d.venue_at - OPEN_AT) // timedelta(minutes=1) for d in done] == [0, 0, 1, 1, 1, 2]
    assert [d.finished for d in done] == 6 * [False]


def test_the_last_step_may_be_asked_for_again_and_does_nothing_more(venue: Venue) -> None:
    venue.obey(a_buy())
    venue.advance(1)
    first = venue.advance(2)
    before = snapshot(venue)

    assert venue.advance(2) == first
    assert snapshot(venue) == before


def test_a_gap_or_a_step_of_the_past_is_refused(venue: Venue) -> None:
    venue.advance(1)
    venue.advance(2)

    for wrong in (1, 4, 0, -1):
        with pytest.raises(StepRefused, match="the next is 3"):
            venue.advance(wrong)


def test_the_tape_ends_with_its_last_close(venue: Venue) -> None:
    done = [venue.advance(n) for n in range(1, 10)]

    assert [d.finished for d in done] == 8 * [False] + [True]
    assert venue.steps_total == 9
    # The session is over with its last bar, though the tape ended before the close.
    assert done[-1].venue_at == datetime(2026, 1, 5, 21, 0, tzinfo=UTC)
    with pytest.raises(StepRefused, match="the tape ended with step 9"):
        venue.advance(10)


def test_the_open_matches_nothing_and_fills_bear_the_bars_start(venue: Venue) -> None:
    venue.obey(a_buy())

    venue.advance(1)
    assert venue.book.executions == []
    venue.advance(2)

    assert [(e.price, e.at) for e in venue.book.executions] == [(Decimal(100), OPEN_AT)]


def test_an_order_sent_after_the_close_of_a_bar_fills_at_the_next_open(venue: Venue) -> None:
    for n in (1, 2, 3):
        venue.advance(n)
    venue.obey(a_buy())
    for n in (4, 5):
        venue.advance(n)

    assert venue.book.executions[0].price == Decimal("100.5")


def test_listeners_hear_trades_and_bars_after_the_clock_moved(venue: Venue, tmp_path: Path) -> None:
    clock_path = tmp_path / "clock"
    venue.attach_clock(ClockFile(clock_path, venue.venue_at))
    clock = FileClock(clock_path)
    heard: list[tuple[str, datetime]] = []
    venue.on_trades.append(lambda events: heard.extend((e.event, clock.now()) for e in events))
    venue.on_bars.append(lambda instant: heard.append(("bars", clock.now())))

    venue.obey(a_buy())
    for n in (1, 2, 3):
        venue.advance(n)

    before = OPEN_AT - timedelta(hours=65.5)  # Friday's close
    end = OPEN_AT + timedelta(minutes=1)
    assert heard == [("accepted", before), ("new", OPEN_AT), ("fill", OPEN_AT), ("bars", end)]


def test_the_clock_file_is_private_and_outlives_its_writer(venue: Venue, tmp_path: Path) -> None:
    path = tmp_path / "clock"
    venue.attach_clock(ClockFile(path, venue.venue_at))
    venue.advance(1)
    venue.close()

    assert path.stat().st_mode & 0o777 == 0o600
    assert FileClock(path).now() == OPEN_AT


# ---------------------------------------------------------------------- journal


def play(venue: Venue) -> None:
    """A bit of everything that a journal can hold."""
    venue.obey(a_bracket())
    for n in (1, 2, 3):
        venue.advance(n)
    stop = next(o for o in venue.book.open_orders() if o.type is OrderType.STOP)
    venue.obey(Replace(stop.id, stop_price=Decimal(98)))
    limit = Submit(
        AAPL, Side.BUY, Decimal(5), OrderType.LIMIT, TimeInForce.DAY, limit_price=Decimal("90.5")
    )
    order = venue.obey(limit)
    assert order is not None
    venue.obey(Cancel(order.id))
    venue.obey(Configure({"suspend_trade": True}))
    with pytest.raises(Refusal):
        venue.obey(a_buy())
    for n in (4, 5):
        venue.advance(n)


def test_a_restart_stands_where_it_stood(tape: Tape, tmp_path: Path) -> None:
    first = open_venue(tape, "mine", RULES, tmp_path)
    play(first)
    before, done = snapshot(first), first.last_done
    first.close()

    again = open_venue(tape, "mine", RULES, tmp_path)

    assert snapshot(again) == before
    assert (again.step, again.last_done, again.venue_at) == (5, done, first.venue_at)
    assert again.advance(5) == done
    assert again.advance(6).phase is Phase.CLOSE
    again.close()


def test_a_replayed_journal_ends_as_a_run_without_interruption(tape: Tape, tmp_path: Path) -> None:
    whole = open_venue(tape, "mine", RULES)
    play(whole)
    parts = open_venue(tape, "mine", RULES, tmp_path)
    play(parts)
    parts.close()
    parts = open_venue(tape, "mine", RULES, tmp_path)

    for n in range(6, 10):
        whole.advance(n)
        parts.advance(n)

    assert snapshot(parts) == snapshot(whole)
    parts.close()


def test_another_account_begins_anew(tape: Tape, tmp_path: Path) -> None:
    first = open_venue(tape, "mine", RULES, tmp_path)
    play(first)

    other = open_venue(tape, "yours", RULES, tmp_path)

    assert (other.step, other.book.cash) == (0, Decimal(100_000))
    assert other.book.account_id != first.book.account_id
    first.close()
    other.close()


def test_one_account_is_held_by_one_process(tape: Tape, tmp_path: Path) -> None:
    first = open_venue(tape, "mine", RULES, tmp_path)

    with pytest.raises(Misconfigured, match="account mine is in use by another simulator"):
        open_venue(tape, "mine", RULES, tmp_path)
    first.close()


def test_an_account_refuses_other_bars_and_other_rules(
    tape: Tape, make_tape: Callable[..., Tape], tmp_path: Path
) -> None:
    open_venue(tape, "mine", RULES, tmp_path).close()

    with pytest.raises(Misconfigured, match="account mine began with other bars"):
        open_venue(make_tape(MINUTES[:2]), "mine", RULES, tmp_path)
    with pytest.raises(Misconfigured, match="account mine began with cash 100000"):
        open_venue(tape, "mine", BookRules(Decimal(5)), tmp_path)


def test_an_account_may_be_allowed_to_sell_short_later_and_never_the_other_way(
    tape: Tape, tmp_path: Path
) -> None:
    margin = replace(RULES, allow_short=True)
    open_venue(tape, "cash", replace(RULES, allow_short=False), tmp_path).close()
    open_venue(tape, "cash", margin, tmp_path).close()
    open_venue(tape, "margin", margin, tmp_path).close()

    with pytest.raises(Misconfigured, match="account margin began with"):
        open_venue(tape, "margin", replace(RULES, allow_short=False), tmp_path)


def test_an_account_name_cannot_leave_its_folder(tape: Tape, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot name a file"):
        open_venue(tape, "../mine", RULES, tmp_path)


def test_a_damaged_line_refuses_the_start_and_names_it(tape: Tape, tmp_path: Path) -> None:
    venue = open_venue(tape, "mine", RULES, tmp_path)
    play(venue)
    venue.close()
    path = tmp_path / "mine.journal"
    lines = path.read_bytes().split(b"\n")
    lines[3] = lines[3][:-3]
    path.write_bytes(b"\n".join(lines))

    with pytest.raises(Misconfigured, match="line 4 is damaged"):
        open_venue(tape, "mine", RULES, tmp_path)


@given(cut=st.integers(0, 2_000))
def test_a_torn_end_costs_only_what_was_never_answered(
    make_tape: Callable[..., Tape], tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    tape = make_tape(MINUTES)
    venue = open_venue(tape, "mine", RULES, folder)
    path = folder / "mine.journal"
    states = {path.stat().st_size: snapshot(venue)}
    for act in (
        lambda: venue.obey(a_bracket()),
        lambda: venue.advance(1),
        lambda: venue.advance(2),
        lambda: venue.obey(a_buy(3)),
        lambda: venue.advance(3),
    ):
        act()
        states[path.stat().st_size] = snapshot(venue)
    venue.close()
    whole = path.read_bytes()
    torn = whole[: max(len(whole) - cut, min(states))]
    path.write_bytes(torn)

    again = open_venue(tape, "mine", RULES, folder)

    last_whole_line = max(size for size in states if size <= len(torn))
    assert snapshot(again) == states[last_whole_line]
    again.close()


def test_nobody_is_answered_once_the_journal_fails(tape: Tape) -> None:
    class FullDisk:
        def append(self, entries: object, *, durable: bool) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    venue = Venue(tape, "mine", RULES, FullDisk())
    ended: list[bool] = []
    venue.on_failure = lambda: ended.append(True)
    heard: list[Any] = []
    venue.on_trades.append(heard.append)

    with pytest.raises(JournalFailed, match="No space left"):
        venue.obey(a_buy())
    with pytest.raises(JournalFailed):
        venue.advance(1)

    assert (ended, heard) == ([True], [])


# ---------------------------------------------------------------------- daily bars


def test_a_daily_replay_fills_at_the_open_and_expires_day_orders_at_the_close(
    calendar: Any, tmp_path: Path
) -> None:
    path = tmp_path / "KO.csv"
    path.write_text(
        "Date,Open,High,Low,Close,Volume\n"
        "2026-01-02,9,9,9,9,100000\n2026-01-05,10,11,9,10.5,100000\n2026-01-06,12,13,11,12,100000\n"
    )
    venue = open_venue(read_tape(path, calendar, last=2), "mine", RULES)
    assert venue.venue_at == datetime(2026, 1, 2, 21, 0, tzinfo=UTC)
    ko = Symbol("KO")
    held_back = venue.obey(Submit(ko, Side.BUY, Decimal(1), OrderType.MARKET, TimeInForce.DAY))
    low = venue.obey(
        Submit(ko, Side.BUY, Decimal(1), OrderType.LIMIT, TimeInForce.DAY, limit_price=Decimal(5))
    )
    assert held_back is not None
    assert low is not None

    done = [venue.advance(n) for n in (1, 2, 3)]

    assert [d.venue_at.hour for d in done] == [14, 14, 21]
    assert not venue.is_open
    assert venue.book.order(held_back.id).average_price == 10
    assert venue.book.order(low.id).status is OrderStatus.EXPIRED

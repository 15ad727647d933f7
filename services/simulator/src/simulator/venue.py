"""What does the venue do next, and who hears of it?

The shell around the pure parts: it takes commands and steps one at a time, lets the book decide, writes the
journal, moves the clock and then tells the listeners, always in this order. Each instant of the tape has
three steps, numbered from 1: OPEN (the clock stands at the bar's start, waiting orders become live), FILL
(resting orders meet the bar), CLOSE (the bar is over and published).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.domain.calendar import Session
from shared.domain.errors import InvalidTime, Misconfigured, TradingError
from shared.domain.money import from_micros, parse_price, plain
from simulator.book import Book
from simulator.clock_file import ClockFile
from simulator.journal import Entry, FileJournal, ForgetfulJournal, Journal
from simulator.orders import BookRules, Command, Order, TradeEvent
from simulator.refusals import Refusal
from simulator.tape import Instant, Tape


class Phase(StrEnum):
    """The three steps of an instant."""

    OPEN = "OPEN"
    FILL = "FILL"
    CLOSE = "CLOSE"


_PHASES = (Phase.OPEN, Phase.FILL, Phase.CLOSE)


class StepRefused(TradingError):
    """That step cannot be made now; the text says which can."""


class JournalFailed(TradingError):
    """What was obeyed could not be written down; the process must end and start again from the file."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """What a step answers; the same for each time it is asked for."""

    step: int
    phase: Phase
    venue_at: datetime
    instant_at: datetime
    timeframe: str
    symbols: int
    revision: int
    finished: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the wire."""
        return {
            "step": self.step,
            "phase": self.phase.value,
            "venue_at": self.venue_at,
            "instant_at": self.instant_at,
            "timeframe": self.timeframe,
            "symbols": self.symbols,
            "revision": self.revision,
            "finished": self.finished,
        }


TradeListener = Callable[[Sequence[TradeEvent]], None]
BarListener = Callable[[Instant], None]


class Venue:
    """One account on one tape."""

    def __init__(
        self,
        tape: Tape,
        account: str,
        rules: BookRules,
        journal: Journal,
    ) -> None:
        self.tape = tape
        self.rules = rules
        self.on_trades: list[TradeListener] = []
        self.on_bars: list[BarListener] = []
        # Called once when the journal fails, so that the process ends.
        self.on_failure: Callable[[], None] = lambda: None
        self._journal = journal
        self._clock_file: ClockFile | None = None
        self._failed = False
        self.step = 0
        self.last_done: StepDone | None = None
        begins_at = tape.begins_at
        session = self._session_for(begins_at)
        self.book = Book(account, rules, begins_at, session.close_at)
        self.book.market_open = tape.calendar.session_at(begins_at) is not None
        self.book.prices.update({s: from_micros(p) for s, p in tape.opening_prices().items()})
        self.book.last_day_prices.update(self.book.prices)
        self._instant = tape.instant(0)
        self._venue_at = begins_at
        if isinstance(journal, FileJournal):
            self._restore(journal)

    @property
    def venue_at(self) -> datetime:
        """The venue's clock."""
        return self._venue_at

    @property
    def is_open(self) -> bool:
        """Whether the exchange is open by the venue's clock."""
        return self.tape.calendar.session_at(self._venue_at) is not None

    @property
    def finished(self) -> bool:
        """Whether the tape has been played to its end."""
        return self._instant is None

    @property
    def steps_total(self) -> int | None:
        """Steps of the whole replay; None when the tape has no end yet."""
        length = self.tape.length
        return None if length is None else 3 * length

    def obey(self, command: Command) -> Order | None:
        """Do one command for good. Raises Refusal, with everything as before."""
        return self.obey_all([command])[0][0]

    def obey_all(self, commands: Sequence[Command]) -> list[tuple[Order | None, Refusal | None]]:
        """Do each command that can be done, write them down together, then tell.

        A single refused command raises; among several, its refusal stands at its place.
        """
        self._require_working()
        answers: list[tuple[Order | None, Refusal | None]] = []
        done: list[Entry] = []
        told: list[TradeEvent] = []
        for command in commands:
            try:
                order, events = self.book.apply(command)
            except Refusal as refusal:
                if len(commands) == 1:
                    raise
                answers.append((None, refusal))
            else:
                answers.append((order, None))
                done.append(command)
                told.extend(events)
        if done:
            self._write_down(done, durable=True)
        self._tell_trades(told)
        return answers

    def advance(self, number: int) -> StepDone:
        """Make step `number`: the next one, or the last one again, which changes nothing.

        Raises:
            StepRefused: any other number, or the tape is over.
        """
        self._require_working()
        if self.last_done is not None and number == self.last_done.step:
            return self.last_done
        if number != self.step + 1:
            raise StepRefused(f"step {number} is not the next one; the next is {self.step + 1}")
        if self._instant is None:
            raise StepRefused(f"the tape ended with step {self.step}")
        instant, phase = self._instant, _PHASES[(number - 1) % 3]
        before = self.book.revision
        events = self._make_step(number)
        # A step that moved no order can be made again from the bars, so it need not wait for the disk.
        self._write_down([number], durable=self.book.revision != before)
        self._show_time()
        self._tell_trades(events)
        if phase is Phase.CLOSE:
            for listener in self.on_bars:
                listener(instant)
        assert self.last_done is not None
        return self.last_done

    def state(self) -> dict[str, Any]:
        """Where the replay stands."""
        done = self.last_done
        first = self.tape.instant(0)
        assert first is not None
        return {
            "account": self.book.account,
            "account_id": self.book.account_id,
            "source": self.tape.source,
            "synthetic": self.tape.is_synthetic,
            "timeframe": self.tape.timeframe.value,
            "symbols": list(self.tape.symbols),
            "step": self.step,
            "phase": None if done is None else done.phase.value,
            "venue_at": self._venue_at,
            "instant_at": None if done is None else done.instant_at,
            "first_instant_at": first.end_at,
            "steps_total": self.steps_total,
            "dropped": self.tape.dropped,
            "revision": self.book.revision,
            "finished": self.finished,
            "is_open": self.is_open,
            "cash": plain(self.book.cash),
            "opening_cash": plain(self.rules.cash),
            "equity": plain(self.book.equity),
            "open_orders": len(self.book.open_orders()),
        }

    def close(self) -> None:
        """Let go of the files."""
        self._journal.close()
        if self._clock_file is not None:
            self._clock_file.close()

    def attach_clock(self, clock_file: ClockFile) -> None:
        """Show the venue's time in that file from now on."""
        self._clock_file = clock_file
        self._show_time()

    # ------------------------------------------------------------------ inside

    def _make_step(self, number: int) -> list[TradeEvent]:
        """What step `number` does to book and clock; the same when it is replayed."""
        instant, phase = self._instant, _PHASES[(number - 1) % 3]
        assert instant is not None
        match phase:
            case Phase.OPEN:
                self._venue_at = instant.opens_at
                close_at = self._session_for(instant.opens_at).close_at
                events = self.book.open_step(
                    instant.opens_at, close_at, new_session=instant.new_session
                )
            case Phase.FILL:
                events = self.book.fill_step(instant.bars)
            case Phase.CLOSE:
                at = instant.end_at
                session = self._session_for(instant.opens_at)
                if instant.session_ends:
                    # A tape may lack the last minutes; its session is over all the same.
                    at = session.close_at
                    session = self._session_for(at)
                self._venue_at = at
                events = self.book.close_step(
                    at,
                    [(s, parse_price(bar.close)) for s, bar in instant.bars.items()],
                    session_ends=instant.session_ends,
                    market_open=not instant.session_ends,
                    close_at=session.close_at,
                )
        self.step = number
        if phase is Phase.CLOSE:
            self._instant = self.tape.instant(number // 3)
        self.last_done = StepDone(
            number,
            phase,
            self._venue_at,
            instant.end_at,
            self.tape.timeframe.value,
            len(instant.bars),
            self.book.revision,
            self._instant is None,
        )
        return events

    def _session_for(self, at: datetime) -> Session:
        """The running session, else the next one."""
        calendar = self.tape.calendar
        session = calendar.session_at(at)
        if session is not None:
            return session
        try:
            return calendar.next_session(at)
        except InvalidTime:
            last = calendar.last_session(at)
            assert last is not None  # the tape has bars, so it has sessions
            return last

    def _restore(self, journal: FileJournal) -> None:
        for entry in journal.entries():
            try:
                if isinstance(entry, int):
                    if entry != self.step + 1 or self._instant is None:
                        raise Misconfigured(
                            f"journal {journal.path} asks for step {entry} where {self.step + 1} "
                            "would be next; restore it from a backup or name another --account"
                        )
                    self._make_step(entry)
                else:
                    self.book.apply(entry)
            except Refusal as refusal:
                raise Misconfigured(
                    f"journal {journal.path} holds a command that its own book refuses ({refusal}); "
                    "was it written by another version? Name another --account"
                ) from None

    def _write_down(self, entries: Sequence[Entry], *, durable: bool) -> None:
        try:
            self._journal.append(entries, durable=durable)
        except OSError as error:
            # The book is ahead of the file now: go no further and answer nobody.
            self._failed = True
            self.on_failure()
            raise JournalFailed(f"the journal cannot be written ({error.strerror})") from error

    def _require_working(self) -> None:
        if self._failed:
            raise JournalFailed("the journal cannot be written; the simulator is ending")

    def _show_time(self) -> None:
        if self._clock_file is not None:
            self._clock_file.set(self._venue_at)

    def _tell_trades(self, events: Sequence[TradeEvent]) -> None:
        if events:
            for listener in self.on_trades:
                listener(events)


def open_venue(
    tape: Tape,
    account: str,
    rules: BookRules,
    state_dir: Path | None = None,
) -> Venue:
    """A venue whose account lives in `state_dir`, or in memory when that is None."""
    journal: Journal = ForgetfulJournal()
    if state_dir is not None:
        journal = FileJournal(
            state_dir,
            account,
            {
                "bars": tape.digest,
                "cash": plain(rules.cash),
                "slippage_bps": rules.slippage_bps,
                "max_volume_share": rules.max_volume_share,
                # What is forbidden binds; an account that may do more than it began with does all of that again.
                **({} if rules.allow_short else {"allow_short": False}),
                **({"not_lent": sorted(rules.not_lent)} if rules.not_lent else {}),
            },
        )
    return Venue(tape, account, rules, journal)

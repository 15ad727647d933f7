"""Reads what was wished for, has it reviewed, and commits the answers.

The thin shell around `review`: it finds the next message, the account and the prices, and lets the store decide and
commit under the account's lock. Whatever the message, there is one review of it, also of an evaluation without
signals: it marks the equity of that instant and lets the next stage see that the instant is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal

import structlog

from risk_manager import review as reviews
from risk_manager.attribution import Attribution, attributed, matched
from risk_manager.exposure import Exposure, mark
from risk_manager.limits import CHANGEABLE, Limits
from risk_manager.modes import Change
from risk_manager.monitor import RiskFigures, risk_figures
from risk_manager.muting import Rows, is_repeat, muted
from risk_manager.ports import (
    Enabling,
    Inbound,
    MarketReader,
    Store,
    StoredDecision,
    WantedLimits,
)
from risk_manager.reports import (
    SNAPSHOT_EVERY,
    StoredReport,
    report_of,
    session_to_report,
    snapshot_of,
)
from risk_manager.review import Decision, Outcome, Venue
from risk_manager.snapshot import Book, LimitChange, Mark, Market, Mode, Throttle, figure
from shared.crashpoints import crashpoint
from shared.domain.decisions import Refused, TradingMode
from shared.domain.errors import InvalidInput, Rejected, TradingError, Unavailable
from shared.domain.money import plain
from shared.domain.orders import Side
from shared.domain.signals import Direction, Evaluation, ManualOrder
from shared.domain.symbols import Symbol
from shared.messages import BELL_REVIEWS
from shared.ports import Bells, Clock, HaltSwitch, Timer

_log = structlog.get_logger(__name__)
# A decision holds thousands of objects for a moment. At Python's own threshold it stops several times to look through
# them for garbage, and now and then through all there are, which was seen to take up to 7 ms.
OBJECTS_BEFORE_COLLECTION = 10_000
# The account may gain a symbol between the look at its prices and the lock; it hardly does so twice.
_TRIES = 5
# The finest quantity that the broker counts in.
_NANO_SHARE = Decimal("0.000000001")
_BENCHMARK = Symbol("SPY")
# The server counts the rows of its tables about once a minute. In a replay many bars come in that time.
_LOOK_PAUSE_S = 20.0
# In a replay a quarter of an hour is over at once; the machine has other things to do then.
_SNAPSHOT_PAUSE_S = 60.0


_DecideAt = Callable[[Book, Market], Outcome]


class _SymbolsChanged(Exception):
    """The account holds or orders a symbol whose price was not looked for."""


class Halted(Rejected):
    """Nothing may be sent, so asking for orders is in vain."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The account as it is now."""

    at: datetime
    book: Book
    exposure: Exposure
    mark: Mark
    # As they hold for the next decision: the settings' with what a person has set above them.
    limits: Limits
    figures: RiskFigures
    attribution: list[Attribution]


class RiskManager:
    """Answers wishes, one message at a time, and the API's questions."""

    def __init__(
        self,
        store: Store,
        market: MarketReader,
        limits: Limits,
        venue: Venue,
        bells: Bells,
        clock: Clock,
        halt: HaltSwitch,
        timer: Timer,
        benchmark: Symbol = _BENCHMARK,
    ) -> None:
        """`benchmark`: whose moves betas are measured against."""
        self._store = store
        self._market = market
        self.limits = limits
        self._venue = venue
        self._bells = bells
        self._clock = clock
        self._halt = halt
        self._timer = timer
        self.benchmark = benchmark
        self._refusals: Rows = {}
        self._snapshot_at: datetime | None = None
        self._next_snapshot_s = 0.0
        self._next_look_s = 0.0
        self._reported_on: date | None = None
        # What the account had when it was last read: whose prices the next decision will need.
        self._symbols: frozenset[Symbol] | None = None
        self._has_turns = False
        # Stored limits that this release does not know, as they were last told.
        self._unknown_limits: frozenset[str] = frozenset()
        # Why equity was an estimate when it was last told.
        self._estimated: str | None = None

    async def work(self) -> bool:
        """Answer the next message; False when there is none."""
        await self._record_halt()
        inbound = await self._store.next_inbound()
        if inbound is None:
            return False
        crashpoint("risk.received")
        body = inbound.body
        at = self._clock.now()
        # A person's order is priced as of now, a strategy's as of the bars it was made from.
        priced_at = body.instant_at if isinstance(body, Evaluation) else at

        def decide(book: Book, market: Market) -> Outcome:
            if isinstance(body, Evaluation):
                return reviews.review_evaluation(body, book, market, self.limits, self._venue, at)
            return reviews.review_manual(body, book, market, self.limits, self._venue, at)

        await self._record(
            reviews.source_of(body),
            decide,
            at,
            priced_at,
            _symbols_of(body),
            _may_enter(body) or self.limits.management.atr_stop > 0.0,
            inbound,
            in_haste=_may_leave(body, self.limits),
        )
        return True

    async def follow_bars(self) -> bool:
        """Have at hand before a decision asks for it what it will ask for; False, since nothing is left.

        Beside the decisions and with the patience of a cold store: none waits for it, and no store is given up for it.
        """
        at, now_s = self._clock.now(), self._timer.monotonic_s()
        await self._market.follow(at)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_PAUSE_S
            # The account may not be adopted yet: then a later look does it. Whatever else is wrong a decision meets too.
            with suppress(TradingError, OSError):
                # The server plans the statement here where it has counted rows anew, and not in a decision.
                book = await self._store.book(at)
                if self._symbols is None:
                    await self._look_ahead(book, at)
        return False

    async def _look_ahead(self, book: Book, at: datetime) -> None:
        """After a start, read the bars that the first decision will ask for; it changes no answer."""
        # What was bought of late may well be wished for again.
        likely = book.symbols | {entry.symbol for entry in book.recent.entries}
        if likely:
            await self._market.at(at, likely, with_history=True, in_haste=False)
        if self._symbols is None:
            self._symbols = book.symbols

    async def _record_halt(self) -> None:
        """Write down a halt that was thrown while no database could: by `trader kill`, or by an executor of this home."""
        note = self._halt.note()
        if note is None or (await self.mode()).mode is TradingMode.HALTED:
            return
        await self.change_mode(TradingMode.HALTED, note, "halt file")

    async def keep_records(self) -> bool:
        """Write the report of a day that is over, and a snapshot now and then; False, since nobody waits for more."""
        at = self._clock.now()
        try:
            if self._venue.calendar.session_at(at) is not None:
                await self._take_snapshot(at)
            await self._report(at)
        except TradingError as error:
            # Records must not end decisions; the account may also not be adopted yet. The next look does it.
            _log.warning("no risk report or snapshot was kept", reason=str(error))
        return False

    async def _take_snapshot(self, at: datetime) -> None:
        now_s = self._timer.monotonic_s()
        is_due = self._snapshot_at is None or at - self._snapshot_at >= SNAPSHOT_EVERY
        if not is_due or now_s < self._next_snapshot_s:
            return
        self._snapshot_at, self._next_snapshot_s = at, now_s + _SNAPSHOT_PAUSE_S
        seen = await self.portfolio()
        if seen.exposure.may_be_too_high:
            return
        document = snapshot_of(seen.at, seen.mark, seen.exposure, seen.figures, seen.attribution)
        await self._store.record_snapshot(seen.at, document)

    async def _report(self, at: datetime) -> None:
        found = session_to_report(at, self._venue.calendar)
        if found is None or found[0].on == self._reported_on:
            return
        session, previous = found
        day = await self._store.day(previous.close_at, session.close_at)
        if day.equity is not None:
            snapshot = await self._store.newest_snapshot(session.close_at)
            document = report_of(day, session, snapshot)
            await self._store.record_report(StoredReport(session.on, at, document))
        self._reported_on = session.on

    async def reports(
        self, *, limit: int, before: date | None = None, on: date | None = None
    ) -> list[StoredReport]:
        """The newest daily reports; see `Store.reports`."""
        return await self._store.reports(limit=limit, before=before, on=on)

    async def flatten(self, flatten_id: str, reason: str, actor: str) -> list[StoredDecision]:
        """Approve an exit for everything held or on order; the same id is answered from what is stored.

        Raises:
            Halted: exits may not leave either.
        """
        at = self._clock.now()
        source = reviews.flatten_source(flatten_id)
        asked = {"reason": reason, "actor": actor}
        known = await self._store.decisions(limit=500, source=source)
        if not known:
            mode = await self._store.mode(at)
            if mode.mode is TradingMode.HALTED:
                raise Halted(
                    "trading is HALTED, so nothing may be sent; resume it for exits only, then flatten"
                )

            def decide(book: Book, market: Market) -> Outcome:
                return reviews.review_flatten(
                    flatten_id, asked, book, market, self.limits, self._venue, at
                )

            await self._record(source, decide, at, at, frozenset(), False, None)
            known = await self._store.decisions(limit=500, source=source)
        return list(reversed(known))

    async def validate(self, order: ManualOrder) -> Decision:
        """Answer what would be answered to `order`, keep the answer with the order's terms, and reserve nothing.

        Raises:
            InvalidInput: it is for a sum of money, and no price says how many shares that is.
        """
        at = self._clock.now()
        book = await self._store.book(at)
        market = await self._market.at(
            at, book.symbols | {order.symbol}, with_history=_may_enter(order)
        )
        order = _with_shares(order, market)
        outcome = reviews.review_manual(order, book, market, self.limits, self._venue, at)
        # The order's own comes first; others follow where a breach would flatten.
        answered = outcome.decisions[0]
        decision = replace(answered, figures={**_terms_of(order), **answered.figures})
        await self._store.record_validation(order.signal_id, decision, order.actor, at)
        return decision

    async def portfolio(self) -> Portfolio:
        """The account at the newest prices."""
        at = self._clock.now()
        book, executions = await self._store.book_with_executions(at)
        market = await self._market.at(
            at, book.symbols | {self.benchmark}, with_history=bool(book.holdings)
        )
        exposure = Exposure.of(book, market)
        limits = self.limits.with_stored(book.limit_changes)
        marked = mark(book, exposure, at)
        figures = risk_figures(
            {
                holding.symbol: figure(holding.quantity * exposure.worth(holding))
                for holding in book.holdings
            },
            {str(symbol): closes for symbol, closes in market.closes.items()},
            equity=figure(marked.equity),
            peak_equity=figure(marked.peak_equity),
            benchmark=self.benchmark,
            returns=limits.correlation_bars,
            least_returns=limits.least_common_returns,
        )
        prices = {h.symbol: exposure.worth(h) for h in book.holdings if h.symbol in market.prices}
        held = {h.symbol: h.quantity for h in book.holdings}
        attribution = attributed(matched(executions, held), prices)
        return Portfolio(at, book, exposure, marked, limits, figures, attribution)

    async def change_limits(
        self, changes: Mapping[str, float | None], version: int, reason: str, actor: str
    ) -> LimitChange:
        """Set limits above the settings; see `Store.change_limits` for what it raises."""
        wanted = WantedLimits(changes, version, reason, actor, self._clock.now())
        change = await self._store.change_limits(wanted, self.limits)
        _log.warning(
            "limits", version=change.version, now=dict(change.changes), reason=reason, actor=actor
        )
        return change

    async def throttles(self) -> list[Throttle]:
        """Who was stopped where; see `Store.throttles`."""
        return await self._store.throttles()

    async def enable(
        self, strategy: str, symbol: Symbol, version: int, reason: str, actor: str
    ) -> Throttle:
        """Let a stopped strategy buy the symbol again; see `Store.enable` for what it raises."""
        wanted = Enabling(strategy, symbol, version, reason, actor, self._clock.now())
        throttle = await self._store.enable(wanted)
        _log.warning("enabled", strategy=strategy, symbol=symbol, reason=reason, actor=actor)
        return throttle

    async def limit_history(self, limit: int) -> list[LimitChange]:
        """The newest changes of limits; see `Store.limit_history`."""
        return await self._store.limit_history(limit)

    async def mode(self) -> Mode:
        """The present mode."""
        return await self._store.mode(self._clock.now())

    async def change_mode(
        self, wanted: TradingMode, reason: str, actor: str, version: int | None = None
    ) -> Mode:
        """Change the mode, and wake whoever must know at once."""
        change = Change(wanted, reason, actor, self._clock.now(), version)
        mode = await self._store.change_mode(change, self.limits)
        _log.warning("mode", mode=mode.mode, version=mode.version, reason=reason, actor=actor)
        await self._bells.ring(BELL_REVIEWS)
        return mode

    async def decisions(
        self,
        *,
        limit: int,
        before: int | None = None,
        symbol: Symbol | None = None,
        outcome: str | None = None,
    ) -> list[StoredDecision]:
        """The newest decisions; see `Store.decisions`."""
        return await self._store.decisions(
            limit=limit, before=before, symbol=symbol, outcome=outcome
        )

    def now(self) -> datetime:
        """The venue's time."""
        return self._clock.now()

    async def _record(
        self,
        source: str,
        decide: _DecideAt,
        at: datetime,
        priced_at: datetime,
        symbols: frozenset[Symbol],
        with_history: bool,
        inbound: Inbound | None,
        *,
        in_haste: bool = True,
    ) -> None:
        is_strategies = inbound is not None and isinstance(inbound.body, Evaluation)
        if self._symbols is None:
            self._symbols = (await self._store.book(at)).symbols
        for _ in range(_TRIES):
            # An entry that waits for the exit of what it turns around may be answered at any bar.
            sees_history = with_history or self._has_turns
            market = await self._market.at(
                priced_at, self._symbols | symbols, with_history=sees_history, in_haste=in_haste
            )

            rows = self._refusals

            def under_lock(
                book: Book, market: Market = market, sees_history: bool = sees_history
            ) -> Outcome:
                nonlocal rows
                self._symbols, self._has_turns = book.symbols, bool(book.turns)
                self._tell_unknown_limits(book)
                if not book.symbols <= market.asked or (self._has_turns and not sees_history):
                    raise _SymbolsChanged
                outcome = decide(book, market)
                if is_strategies:
                    outcome, rows = muted(outcome, self._refusals)
                return outcome

            try:
                outcome = await self._store.record(
                    source,
                    under_lock,
                    at,
                    inbound=inbound,
                    marks_equity=is_strategies,
                )
            except _SymbolsChanged:
                continue
            # Only what was committed was told.
            self._refusals = rows
            if outcome is not None:
                _tell(outcome)
                self._tell_estimate(outcome)
            crashpoint("risk.committed")
            await self._bells.ring(BELL_REVIEWS)
            crashpoint("risk.announced")
            return
        raise Unavailable("the account's symbols change faster than their prices can be read")

    def _tell_unknown_limits(self, book: Book) -> None:
        unknown = frozenset(book.limit_changes.keys() - CHANGEABLE)
        if unknown and unknown != self._unknown_limits:
            _log.error(
                "limits that another release has stored are unknown to this one and hold nothing back",
                names=", ".join(sorted(unknown)),
            )
        self._unknown_limits = unknown

    def _tell_estimate(self, outcome: Outcome) -> None:
        """Say once that, and why, equity is an estimate, and once that it is none any more."""
        if outcome.estimated == self._estimated:
            return
        self._estimated = outcome.estimated
        if outcome.estimated is None:
            _log.warning("equity is no estimate any more: all that is held has a price")
        else:
            _log.error(
                "equity is an estimate: nothing is bought, and nothing sold for a loss, until prices are known",
                reason=outcome.estimated,
            )


def _with_shares(order: ManualOrder, market: Market) -> ManualOrder:
    """`order` for the shares that its sum of money buys, as the executor reckons when the order is really given."""
    if order.terms.notional is None:
        return order
    newest = market.prices.get(order.symbol)
    price = order.limit_price or order.stop_price or (None if newest is None else newest.amount)
    if price is None:
        raise InvalidInput(f"no price of {order.symbol} is known yet; give quantity instead")
    shares = (order.terms.notional / price).quantize(_NANO_SHARE, ROUND_DOWN)
    return replace(order, quantity=shares)


def _terms_of(order: ManualOrder) -> dict[str, str]:
    """What was asked for, as far as an answer does not say it anyway."""
    asked: dict[str, object] = {
        "type": order.type.value,
        "time_in_force": order.time_in_force.value,
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "stop_loss": order.stop_loss,
        "take_profit": order.take_profit,
        **asdict(order.terms),
    }
    return {
        name: plain(value) if isinstance(value, Decimal) else str(value)
        for name, value in asked.items()
        if value is not None and value is not False
    }


def _symbols_of(body: Evaluation | ManualOrder) -> frozenset[Symbol]:
    if isinstance(body, ManualOrder):
        return frozenset({body.symbol})
    return frozenset(signal.symbol for signal in body.signals)


def _may_enter(body: Evaluation | ManualOrder) -> bool:
    """Whether an answer may need correlations, for which many bars are read."""
    if isinstance(body, ManualOrder):
        return body.side is Side.BUY
    return any(signal.direction is not Direction.FLAT for signal in body.signals)


def _may_leave(body: Evaluation | ManualOrder, limits: Limits) -> bool:
    """Whether an answer may let something go, which must not wait.

    A purchase may buy back what is owed, and any bar may be the one by which a day strategy's positions leave.
    """
    if isinstance(body, ManualOrder) or not body.signals:
        return True
    if limits.allow_short or limits.management.day_strategies:
        return True
    return any(signal.direction is Direction.FLAT for signal in body.signals)


def _tell(outcome: Outcome) -> None:
    source = outcome.review.source
    for approved in outcome.review.approved:
        _log.info(
            "approved",
            correlation_id=source,
            signal_id=approved.signal_id,
            decision=approved.decision_id,
            symbol=approved.symbol,
            side=approved.side,
            quantity=str(approved.quantity),
            act_from=approved.act_from.isoformat(),
        )
    for decision in outcome.decisions:
        refused = decision.answer
        if isinstance(refused, Refused) and not is_repeat(decision):
            _log.info(
                "refused",
                correlation_id=source,
                signal_id=refused.signal_id,
                decision=refused.decision_id,
                symbol=refused.symbol,
                code=refused.reason_code,
                reason=refused.reason,
            )
    for move in outcome.review.moved:
        _log.info(
            "stop moved",
            correlation_id=source,
            decision=move.decision_id,
            symbol=move.symbol,
            stop_loss=str(move.stop_loss),
            previous=str(move.previous),
        )
    for throttle in outcome.stopped:
        _log.error(
            "stopped until a person enables it",
            strategy=throttle.strategy,
            symbol=throttle.symbol,
            reason=throttle.reason,
        )
    if outcome.reduce_because is not None:
        _log.error("trading goes to REDUCING", reason=outcome.reduce_because)

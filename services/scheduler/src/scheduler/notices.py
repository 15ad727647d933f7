"""Is an event told, when, how loudly and in which words?

Rows of what happened go in, notices come out, each under the one key that its event allows, so that looking again
tells nothing twice. Quiet hours hold back what can wait until they end; what cannot wait is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from string import Template
from typing import Any
from zoneinfo import ZoneInfo

from shared.domain.calendar import NEW_YORK
from shared.domain.notices import USUAL, Event, Manner, Priority
from shared.domain.orders import Side, deed

LONGEST_TITLE = 120
LONGEST_TEXT = 2_000
# From this share of a limit on a person is told, once a day and limit.
NEAR = 0.8
# What one order is sized up to is always nearly full, and says nothing.
WATCHED_LIMITS = frozenset(
    {"PORTFOLIO_RISK", "DRAWDOWN", "DAILY_LOSS", "GROSS_EXPOSURE", "NET_EXPOSURE", "DAILY_TRADES"}
)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened; `key` names it among all of its event, `figures` fill the template."""

    event: Event
    key: str
    title: str
    text: str
    at: datetime
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """A notice as it will be sent, and not before `due_at`."""

    event: Event
    key: str
    title: str
    text: str
    priority: Priority
    due_at: datetime


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to `end` in local time, over midnight where start is later; none when they are equal."""

    start: time
    end: time
    timezone: ZoneInfo

    def over_at(self, now: datetime) -> datetime:
        """When it is not quiet any more: `now`, or the end of the present hours."""
        local = now.astimezone(self.timezone)
        clock = local.time()
        over_midnight = self.start > self.end
        inside = (
            (clock >= self.start or clock < self.end)
            if over_midnight
            else self.start <= clock < self.end
        )
        if not inside:
            return now
        day = local.date() + timedelta(days=1 if over_midnight and clock >= self.start else 0)
        return datetime.combine(day, self.end, self.timezone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person has decided about notices."""

    manners: Mapping[Event, Manner]
    quiet: QuietHours | None = None
    templates: Mapping[Event, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        chosen: Sequence[tuple[str, str]],
        quiet: tuple[time, time] | None,
        timezone: ZoneInfo,
        templates: Mapping[Event, str],
    ) -> Rules:
        """The rules of the settings, above the usual ones."""
        manners = {event: manner for event, (manner, _) in USUAL.items()}
        manners |= {Event(event): Manner(manner) for event, manner in chosen}
        return cls(manners, QuietHours(*quiet, timezone) if quiet else None, templates)

    def message(self, notice: Notice, now: datetime) -> Message | None:
        """What is sent for `notice`; None when nobody wants to be told."""
        manner = self.manners[notice.event]
        if manner is Manner.OFF:
            return None
        _, usual = USUAL[notice.event]
        priority = Priority.LOW if manner is Manner.SILENT else usual
        title, text = self._words(notice)
        can_wait = priority < Priority.HIGH
        due_at = self.quiet.over_at(now) if self.quiet is not None and can_wait else now
        return Message(
            notice.event, notice.key, title[:LONGEST_TITLE], text[:LONGEST_TEXT], priority, due_at
        )

    def _words(self, notice: Notice) -> tuple[str, str]:
        """The person's own template (its first line is the title), else our words."""
        template = self.templates.get(notice.event)
        if template is None:
            return notice.title, notice.text
        known = {
            "title": notice.title,
            "text": notice.text,
            "at": _time(notice.at),
            **notice.figures,
        }
        first, _, rest = Template(template).safe_substitute(known).partition("\n")
        return first.strip() or notice.title, rest.strip() or notice.text


@dataclass(frozen=True, slots=True)
class Happenings:
    """Rows of what the services have stored lately, by kind."""

    modes: Sequence[Mapping[str, Any]] = ()
    fills: Sequence[Mapping[str, Any]] = ()
    stops: Sequence[Mapping[str, Any]] = ()
    unknown: Sequence[Mapping[str, Any]] = ()
    rejected: Sequence[Mapping[str, Any]] = ()
    differences: Sequence[Mapping[str, Any]] = ()
    # Shares that had no stop, and have one again or are gone.
    guarded: Sequence[Mapping[str, Any]] = ()
    providers: Sequence[Mapping[str, Any]] = ()
    services: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    limits: Sequence[Mapping[str, Any]] = ()


def notices_of(seen: Happenings, now: datetime, next_session: str) -> list[Notice]:
    """Everything worth telling in `seen`; `next_session` is told in the digest."""
    return [
        *_modes(seen),
        *_orders(seen, now),
        *_world(seen, now),
        *_jobs(seen, next_session),
        *_limits(seen, now),
    ]


def _modes(seen: Happenings) -> Iterator[Notice]:
    for row in seen.modes:
        # The very first mode is a start, and no change.
        if row["version"] > 1:
            yield Notice(
                Event.MODE,
                f"{row['version']}",
                f"Trading is {row['mode']}",
                f"{row['reason']} ({row['actor']})",
                row["changed_at"],
                _figures(row),
            )


def _orders(seen: Happenings, now: datetime) -> Iterator[Notice]:
    for row in seen.unknown:
        yield Notice(
            Event.UNKNOWN_ORDER,
            row["client_order_id"],
            f"Order of unknown outcome: {row['symbol']}",
            f"{_order(row)}: the broker's answer was lost. It is being looked up; the exposure stays reserved.",
            row["sent_at"] or now,
            _figures(row),
        )
    for row in seen.rejected:
        yield Notice(
            Event.REJECTED,
            row["client_order_id"],
            f"Order refused by the broker: {row['symbol']}",
            f"{_order(row)}: {row['reason']}",
            row["ended_at"],
            _figures(row),
        )
    for row in seen.stops:
        yield Notice(
            Event.STOP_HIT,
            row["broker_order_id"],
            f"Stop hit: {row['symbol']}",
            f"{_order(row)} at {_plain(row['price'])} USD",
            row["executed_at"],
            _figures(row),
        )
    for row in seen.fills:
        yield Notice(
            Event.FILL,
            row["execution_id"],
            f"Filled: {_order(row)}",
            f"at {_plain(row['price'])} USD, fee {_plain(row['fee'])} USD",
            row["executed_at"],
            _figures(row),
        )


def _world(seen: Happenings, now: datetime) -> Iterator[Notice]:
    for row in seen.differences:
        is_bare = row["kind"] == "UNGUARDED"
        yield Notice(
            Event.DIFFERENCE,
            f"{row['id']}",
            f"{'Shares without a stop' if is_bare else 'Difference with the broker'}: {row['subject']}",
            f"{row['kind']}: we have {row['ours']}, the broker has {row['theirs']}. Entries wait until "
            "somebody has looked.",
            row["opened_at"],
            _figures(row),
        )
    for row in seen.guarded:
        yield Notice(
            Event.DIFFERENCE,
            f"{row['id']}:guarded",
            f"Guarded again: {row['subject']}",
            f"Its shares have their stops again, or are gone; unguarded since {_time(row['opened_at'])}.",
            row["closed_at"],
            _figures(row),
        )
    for row in seen.providers:
        yield Notice(
            Event.PROVIDER_DOWN,
            f"{row['provider']}:{_day(now)}",
            # It is stored with the digest of its key, which tells a person nothing.
            f"{str(row['provider']).partition(' ')[0]} gives nothing now",
            f"{row['blocked_why']}; until {_time(row['blocked_until_at'])}",
            now,
            _figures(row),
        )
    for row in seen.services:
        # Told when it is found so a second time: a service that is just starting answers at the next look.
        if row["checked_at"] <= row["since_at"]:
            continue
        name = str(row["service"]).replace("_", " ")
        yield Notice(
            Event.SERVICE_DOWN,
            f"{row['service']}:{row['since_at'].isoformat()}",
            f"The {name} is {'not ready' if row['alive'] else 'down'}",
            str(row["detail"]) or "it does not answer",
            row["checked_at"],
            _figures(row),
        )


def _jobs(seen: Happenings, next_session: str) -> Iterator[Notice]:
    for row in seen.runs:
        if row["state"] in ("FAILED", "MISSED"):
            yield Notice(
                Event.JOB_FAILED,
                row["run_id"],
                f"Job {row['state'].lower()}: {row['job_id']}",
                str(row["detail"]) or f"due {_time(row['due_at'])}",
                row["due_at"],
                _figures(row),
            )
        elif row["job_id"] == "end_of_day_report":
            yield _digest(row, seen, next_session)


def _limits(seen: Happenings, now: datetime) -> Iterator[Notice]:
    for row in seen.limits:
        if row["code"] not in WATCHED_LIMITS or row["limit"] <= 0:
            continue
        share = row["usage"] / row["limit"]
        if share >= NEAR:
            yield Notice(
                Event.LIMIT_NEAR,
                f"{row['code']}:{_day(now)}:{'full' if share >= 1 else 'near'}",
                f"{str(row['code']).replace('_', ' ').capitalize()} at {share:.0%} of its limit",
                str(row["text"]),
                now,
                _figures(row),
            )


def _digest(run: Mapping[str, Any], seen: Happenings, next_session: str) -> Notice:
    """The day in a few lines: result, risk, exceptions, what comes next."""
    day = run["figures"]
    result = day.get("pnl")
    lines = [
        f"Equity {day.get('equity') or 'not marked'} USD, result {result or 'not known'} USD, fees {day.get('fees')} USD.",
        f"{day.get('signals')} signals, {day.get('approved')} approved, {day.get('refused')} refused; {day.get('orders')} orders, {day.get('fills')} fills.",
    ]
    refused = day.get("refused_by_code") or {}
    if refused:
        worst = sorted(refused.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
        lines.append("Refused: " + ", ".join(f"{code} {many}" for code, many in worst) + ".")
    lines += [
        f"Limit {row['code']}: {row['text']}."
        for row in seen.limits
        if row["code"] in ("DRAWDOWN", "PORTFOLIO_RISK")
    ]
    open_ones = [
        *(f"difference of {row['subject']}" for row in seen.differences),
        *(f"unknown order in {row['symbol']}" for row in seen.unknown),
    ]
    lines.append("Exceptions: " + (", ".join(open_ones[:10]) or "none") + ".")
    lines.append(f"Next session: {next_session}.")
    sign = "" if result is None or str(result).startswith("-") else "+"
    return Notice(
        Event.DIGEST,
        run["run_id"],
        f"{day.get('session_on')}: {sign}{result or '?'} USD",
        "\n".join(lines),
        run["due_at"],
        {key: str(value) for key, value in day.items()},
    )


def _figures(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def _order(row: Mapping[str, Any]) -> str:
    # Nobody says of an order that is not ours whether it opens or closes.
    opens = row.get("opens")
    words = row["side"] if opens is None else deed(Side(row["side"]), opens=opens)
    return f"{words} {_plain(row['quantity'])} {row['symbol']}"


def _day(at: datetime) -> str:
    return at.astimezone(NEW_YORK).date().isoformat()


def _plain(value: object) -> str:
    text = f"{value}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"

"""What has this account been told so far?

An append-only file of JSON lines: a header that binds the account to its bars and rules, then every command
that was obeyed and every step that was made, in order. It is on the disk before anybody hears of its effect.
The book is not stored: replaying the lines makes it again. A line torn by a crash at the very end was never
answered and is cut off; anything else that is wrong refuses the start.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import orjson

from shared.domain.errors import Misconfigured
from shared.domain.money import plain
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from shared.domain.symbols import parse_symbol
from simulator.orders import Cancel, Command, Configure, Replace, Submit

_VERSION = 1
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Entry = int | Command


class Journal(Protocol):
    """Where entries go before their effect is told: a step's number, or a command."""

    def append(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Keep `entries`; when `durable`, return only once they would survive a power cut."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class ForgetfulJournal:
    """For a venue that need not survive its process."""

    def append(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Nothing is open."""


class FileJournal:
    """One account's file; held by one process at a time."""

    def __init__(self, state_dir: Path, account: str, header: dict[str, Any]) -> None:
        """Open or begin the journal of `account`.

        Args:
            header: what the account is bound to; a journal with another one is refused.
        Raises:
            Misconfigured: one sentence on what is wrong and what to do.
        """
        if _ACCOUNT.fullmatch(account) is None:
            raise Misconfigured(
                f"account {account[:40]!r} cannot name a file: use 1 to 64 letters, digits, - and _"
            )
        self.path = state_dir / f"{account}.journal"
        self._account = account
        wanted = {"version": _VERSION, "account": account, **header}
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise Misconfigured(
                f"journal {self.path} cannot be opened ({error.strerror}); check --state-dir"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise Misconfigured(
                f"account {account} is in use by another simulator; stop it or name another --account"
            ) from None
        try:
            if self._cut_torn_line() == 0:
                self._write(orjson.dumps(wanted) + b"\n")
                os.fsync(self._fd)
                self._sync_directory(state_dir)
            else:
                self._check_header(wanted)
        except BaseException:
            os.close(self._fd)  # which also lets go of the lock
            raise

    def entries(self) -> Iterator[Entry]:
        """Everything after the header, oldest first."""
        with self.path.open("rb") as lines:
            next(lines)
            for number, line in enumerate(lines, start=2):
                try:
                    yield _decode(orjson.loads(line))
                except (
                    orjson.JSONDecodeError,
                    ArithmeticError,
                    LookupError,
                    TypeError,
                    ValueError,
                ):
                    raise Misconfigured(
                        f"journal {self.path}, line {number} is damaged; restore it from a backup or "
                        "name another --account"
                    ) from None

    def append(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """See `Journal`."""
        self._write(b"".join(orjson.dumps(_encode(entry)) + b"\n" for entry in entries))
        if durable:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """See `Journal`."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _cut_torn_line(self) -> int:
        size = os.fstat(self._fd).st_size
        end = size
        while end > 0:
            low = max(end - 65_536, 0)
            at = os.pread(self._fd, end - low, low).rfind(b"\n")
            if at >= 0:
                end = low + at + 1
                break
            end = low
        if end < size:
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)
        return end

    def _check_header(self, wanted: dict[str, Any]) -> None:
        with self.path.open("rb") as lines:
            try:
                found = orjson.loads(lines.readline())
            except orjson.JSONDecodeError:
                found = None
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise Misconfigured(
                f"journal {self.path} was not written by this version; name another --account"
            )
        for key, value in wanted.items():
            if found.get(key) != value:
                what = "other bars" if key == "bars" else f"{key} {found.get(key)}"
                raise Misconfigured(
                    f"account {self._account} began with {what} (this start: "
                    f"{'these bars' if key == 'bars' else value}); start it as it began or name "
                    "another --account"
                )

    @staticmethod
    def _sync_directory(directory: Path) -> None:
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _number(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _encode(entry: Entry) -> dict[str, Any]:
    match entry:
        case int():
            return {"step": entry}
        case Submit():
            return {
                "submit": {
                    "symbol": entry.symbol,
                    "side": entry.side.value,
                    "quantity": plain(entry.quantity),
                    "type": entry.type.value,
                    "time_in_force": entry.time_in_force.value,
                    "order_class": entry.order_class.value,
                    "limit_price": _text(entry.limit_price),
                    "stop_price": _text(entry.stop_price),
                    "take_profit": _text(entry.take_profit),
                    "stop_loss": _text(entry.stop_loss),
                    "client_order_id": entry.client_order_id,
                    "position_intent": entry.position_intent,
                    "source": entry.source,
                    "stop_loss_limit": _text(entry.stop_loss_limit),
                    "trail_price": _text(entry.trail_price),
                    "trail_percent": _text(entry.trail_percent),
                    "notional": _text(entry.notional),
                    "extended_hours": entry.extended_hours,
                }
            }
        case Cancel():
            return {"cancel": entry.order_id}
        case Replace():
            force = entry.time_in_force
            return {
                "replace": {
                    "order_id": entry.order_id,
                    "quantity": _text(entry.quantity),
                    "limit_price": _text(entry.limit_price),
                    "stop_price": _text(entry.stop_price),
                    "time_in_force": None if force is None else force.value,
                    "client_order_id": entry.client_order_id,
                    "trail": _text(entry.trail),
                }
            }
        case Configure():
            return {"configure": entry.changes}


def _decode(line: dict[str, Any]) -> Entry:
    ((kind, value),) = line.items()
    match kind:
        case "step":
            return int(value)
        case "cancel":
            return Cancel(str(value))
        case "configure":
            return Configure(dict(value))
        case "submit":
            return Submit(
                symbol=parse_symbol(value["symbol"]),
                side=Side(value["side"]),
                quantity=Decimal(value["quantity"]),
                type=OrderType(value["type"]),
                time_in_force=TimeInForce(value["time_in_force"]),
                order_class=OrderClass(value["order_class"]),
                limit_price=_number(value["limit_price"]),
                stop_price=_number(value["stop_price"]),
                take_profit=_number(value["take_profit"]),
                stop_loss=_number(value["stop_loss"]),
                client_order_id=value["client_order_id"],
                position_intent=value["position_intent"],
                source=value["source"],
                # Lines written before these terms existed lack them.
                stop_loss_limit=_number(value.get("stop_loss_limit")),
                trail_price=_number(value.get("trail_price")),
                trail_percent=_number(value.get("trail_percent")),
                notional=_number(value.get("notional")),
                extended_hours=bool(value.get("extended_hours", False)),
            )
        case "replace":
            force = value["time_in_force"]
            return Replace(
                order_id=value["order_id"],
                quantity=_number(value["quantity"]),
                limit_price=_number(value["limit_price"]),
                stop_price=_number(value["stop_price"]),
                time_in_force=None if force is None else TimeInForce(force),
                client_order_id=value["client_order_id"],
                trail=_number(value.get("trail")),
            )
    raise ValueError(kind)

"""`python -m simulator`: reads the command line, wires the parts, serves until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

import uvloop

from shared.adapters.action_files import read_actions
from shared.adapters.clocks import MonotonicTimer, WallClock
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.process import end_process
from shared.config import process_environment
from shared.domain.errors import InvalidInput, Misconfigured
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.ports import Timer
from simulator.app import make_doors
from simulator.clock_file import ClockFile
from simulator.files import read_tape, write_tape
from simulator.generator import DEFAULT_SYMBOLS, make_synthetic_tape
from simulator.orders import BookRules
from simulator.server import Server, bind
from simulator.tape import Tape
from simulator.venue import Venue, open_venue

EXIT_MISCONFIGURED = 4
_log = logging.getLogger("simulator")
_DEFAULT_SPEED = 60.0
_MAX_SPEED = 1_000_000.0
# One bar, of whatever length, stands for one minute of a free run.
_BAR_S = 60.0


class _Parser(argparse.ArgumentParser):
    """Ends with our own exit code for usage errors."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_MISCONFIGURED, f"simulator: {message}; see python -m simulator --help\n")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; exits with a sentence and code 4 when it is wrong."""
    parser = _Parser(
        prog="simulator",
        description="A simulated broker and market-data feed that speaks Alpaca's protocols.",
        epilog="Example: python -m simulator --port 8006 --bars GOOG.csv --last 500 --speed 60",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    add("--port", type=_whole(0, 65535), default=8006, help="port; 0 picks a free one")
    add("--bars", type=Path, help="CSV or Parquet file to replay; absent: SYNTHETIC bars")
    add("--actions", type=Path, help="CSV or Parquet file of splits and dividends to tell of")
    add("--last", type=_whole(1, 10**9), help="replay the last N instants, the rest is history")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed",
        type=_number(0.001, _MAX_SPEED),
        help=f"times real time, a bar being a minute (default {_DEFAULT_SPEED:.0f})",
    )
    pace.add_argument("--lock-step", action="store_true", help="wait for POST /admin/advance")
    add("--account", default="simulated", help="whose book; a new name opens a new account")
    add("--cash", type=_money, default=Decimal(100_000), help="opening cash in dollars")
    add("--clock-file", type=Path, help="file to write the venue's time to")
    add("--state-dir", type=Path, help="where books are kept; absent: in memory")
    add("--seed", type=_whole(0, 2**63 - 1), default=1, help="of the SYNTHETIC bars")
    add("--symbols", type=_symbols, default=(), help="A,B: which to make, or to take from the file")
    add("--timeframe", default="auto", help="auto, or one of 1Min 5Min 15Min 1Hour 1Day")
    add("--sessions", type=_whole(1, 10**6), help="how many SYNTHETIC sessions (default: no end)")
    add("--slippage-bps", type=_number(0.0, 1_000.0), default=0.0, help="of market orders")
    add("--max-volume-share", type=_number(1e-6, 1.0), default=0.1, help="of a bar's volume")
    add("--no-shorting", action="store_true", help="a cash account, which sells nothing short")
    add("--not-lent", type=_symbols, default=(), help="A,B: shares that nobody lends")
    add("--rate-limit", type=_whole(0, 10**9), default=200, help="requests a minute; 0: no limit")
    add("--credits", type=_whole(0, 10**6), default=0, help="of Twelve Data, a minute; 0: no limit")
    add("--cache-dir", type=Path, help="where the exchange's sessions are kept between starts")
    add("--write", type=Path, help="write the bars to this .csv or .parquet file, and end")
    add("--check", action="store_true", help="say what would be replayed, and end")
    return parser.parse_args(arguments)


def make_tape(options: argparse.Namespace) -> Tape:
    """The bars that the options ask for. Raises InvalidInput or Misconfigured with one sentence."""
    cache_dir = options.cache_dir or options.state_dir or _own_cache_dir()
    calendar = load_calendar(cache_dir)
    timeframe = None if options.timeframe == "auto" else parse_timeframe(options.timeframe)
    if options.bars is not None:
        if options.sessions is not None:
            raise Misconfigured("--sessions is for SYNTHETIC bars; use --last with --bars")
        return read_tape(
            options.bars,
            calendar,
            last=options.last,
            timeframe=timeframe,
            only=options.symbols,
        )
    if options.last is not None:
        raise Misconfigured("--last needs --bars; use --sessions to bound SYNTHETIC bars")
    if timeframe not in (None, Timeframe.MINUTE):
        raise Misconfigured("SYNTHETIC bars are minutes; leave --timeframe or give --bars")
    return make_synthetic_tape(
        calendar,
        seed=options.seed,
        symbols=options.symbols or DEFAULT_SYMBOLS,
        sessions=options.sessions,
    )


def describe(tape: Tape) -> str:
    """What would be replayed, in one line for people."""
    length = "without end" if tape.length is None else f"{tape.length} instants"
    return (
        f"{tape.source}: {tape.timeframe} bars of {', '.join(tape.symbols)}, {length}, "
        f"{tape.dropped} bars outside regular hours left out"
    )


async def serve(options: argparse.Namespace) -> None:
    """Assemble the venue and its doors and run them until SIGTERM, SIGINT or a failure."""
    rules = BookRules(
        options.cash,
        options.slippage_bps,
        options.max_volume_share,
        not options.no_shorting,
        frozenset(options.not_lent),
    )
    venue = open_venue(make_tape(options), options.account, rules, options.state_dir)
    timer = MonotonicTimer()
    speed = None if options.lock_step else (options.speed or _DEFAULT_SPEED)
    with contextlib.closing(venue):
        if options.clock_file is not None:
            venue.attach_clock(ClockFile(options.clock_file, venue.venue_at))
        doors = make_doors(
            venue,
            timer=timer,
            machine_clock=WallClock(),
            requests_per_minute=options.rate_limit,
            admin_token=process_environment().get("SIMULATOR_ADMIN_TOKEN") or None,
            speed=speed,
            credits_per_minute=options.credits,
            actions=() if options.actions is None else read_actions(options.actions),
        )
        with contextlib.closing(bind(options.host, options.port)) as door:
            server = Server(doors)
            venue.on_failure = server.stop
            async with asyncio.TaskGroup() as tasks:
                runner = (
                    None if speed is None else tasks.create_task(run_freely(venue, speed, timer))
                )
                await _serve_until_told(server, venue, door)
                if runner is not None:
                    runner.cancel()


async def _serve_until_told(server: Server, venue: Venue, door: socket.socket) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    _log.info(
        "account %s on %s (%s, %d symbols) at step %d, listening on %s:%d",
        venue.book.account,
        venue.tape.source,
        venue.tape.timeframe.value,
        len(venue.tape.symbols),
        venue.step,
        *door.getsockname()[:2],
    )
    if venue.tape.dropped:
        _log.warning("%d bars outside regular hours were left out", venue.tape.dropped)
    await server.serve(sockets=[door])


async def run_freely(venue: Venue, speed: float, timer: Timer) -> None:
    """Make the steps by machine time: opening and fills half a bar before its close.

    The half bar is when a client may still send what it held back for the open.
    """
    half_s = _BAR_S / speed / 2
    due_s = timer.monotonic_s()
    while not venue.finished:
        venue.advance(venue.step + 1)
        if venue.step % 3 == 2:  # filled; the bar closes at once, like its last trade
            continue
        due_s += half_s
        await timer.sleep(max(due_s - timer.monotonic_s(), 0.0))
    _log.info("the tape ended with step %d", venue.step)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the return value is the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.check:
            print(describe(make_tape(options)))
            return 0
        if options.write is not None:
            print(f"{write_tape(make_tape(options), options.write)} bars in {options.write}")
            return 0
        uvloop.run(serve(options))
    except (InvalidInput, Misconfigured) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    return 0


def _own_cache_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"full-ai-trader-{os.getuid()}"


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 < amount <= 10**12):
        raise argparse.ArgumentTypeError("must be an amount above zero in dollars")
    return amount


def _symbols(text: str) -> tuple[Symbol, ...]:
    try:
        return tuple(parse_symbol(part.strip()) for part in text.split(",") if part.strip())
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    end_process(main())

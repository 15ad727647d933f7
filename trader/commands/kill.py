"""Stop trading when nothing answers any more: `trader kill`.

It asks no service and no database. First the halt file, which every executor on this machine looks for before it sends;
then every open order at the broker is cancelled, protective ones too. The risk manager records it once it runs again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import httpx
import typer

from shared.adapters.halt_file import HaltFile
from shared.config import load_settings
from shared.domain.errors import Misconfigured
from trader.broker_kill import Killed, cancel_everything
from trader.exits import ExitCode
from trader.runtime.compose import told_to_executor
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance
from trader.runtime.places import halt_file_in, home_in
from trader.runtime.running import told_to
from trader.runtime.waiting import wait_until

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class _Broker:
    """Where to ask, and a pair of keys there."""

    url: str
    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What became of the orders at one broker; `refused` is why it does not take the keys."""

    killed: Killed
    refused: str | None


@app.command()
def kill(
    reason: Annotated[
        str, typer.Option(help="Why; it is stored with the halt.")
    ] = "asked for on the command line",
    within: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds to look for orders still open.")
    ] = 30.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Halt and cancel every order at the broker, also while databases are down. Positions stay, unprotected.

    Example: trader kill --reason "the database is gone"
    """
    try:
        instance = Instance.of_project()
    except Misconfigured as error:
        # Whatever is wrong there, this much needs no setting.
        if dry_run:
            raise
        HaltFile(halt_file_in(home_in(os.environ))).throw(reason)
        raise Misconfigured(f"trading is halted, but nothing was cancelled: {error}") from None
    switch = HaltFile(instance.halt_file)
    if dry_run:
        brokers = _brokers(instance)
        _say(
            {
                "dry_run": True,
                "halt_file": str(switch.path),
                "broker": " ".join(dict.fromkeys(broker.url for broker in brokers)),
                "is_halted": switch.note() is not None,
            },
            as_json,
        )
        return
    try:
        switch.throw(reason)
    except OSError as error:
        # The orders are cancelled all the same: that is what is left.
        halted: str | None = f"{switch.path} cannot be written: {error.strerror}"
    else:
        halted = None
    try:
        brokers = _brokers(instance)
    except Misconfigured as error:
        done = "trading is halted" if halted is None else halted
        raise Misconfigured(f"{done}, but nothing was cancelled: {error}") from None
    # All at once: one that hangs keeps no other waiting.
    with ThreadPoolExecutor(len(brokers)) as threads:
        results = list(threads.map(partial(_cancelled, within=within), brokers))
    killed = _together(results)
    _say(_document(killed, switch, halted), as_json)
    if halted is not None:
        raise StackError(f"{halted}; stop the executor by hand: trader down trade_executor")
    if refused := [result.refused for result in results if result.refused is not None]:
        raise Misconfigured("; ".join(refused))
    if not killed.is_confirmed:
        raise typer.Exit(ExitCode.TIMED_OUT)


def _brokers(instance: Instance) -> list[_Broker]:
    """Where orders may be open: at the settings' broker, and where the running executor sends.

    A demo trades at the simulated venue whatever the settings say, and keys may have become those of another account
    since the executor was started. Nothing but the broker's own settings is read: a mistake in any other must not keep
    orders alive.

    Raises:
        Misconfigured: there are keys for no broker at all.
    """
    running = told_to(instance, "trade_executor") or told_to_executor(instance)
    try:
        own = _pairs(instance.settings)
    except Misconfigured:
        if not running:
            raise
        return _pairs(running)[:1]
    try:
        theirs = _pairs(running)[:1] if running else []
    except Misconfigured:
        theirs = []
    # Both pairs of the settings are of one account, and programs are told of the main pair alone.
    return [own[0], *(broker for broker in theirs if broker not in own)]


def _pairs(told: Mapping[str, str]) -> list[_Broker]:
    """The pairs of keys in `told`, that of the kill command first. Raises Misconfigured where there is none."""
    settings = load_settings(
        {name: text for name, text in told.items() if name.startswith("ALPACA_")}
    )
    pairs = (
        (settings.alpaca_kill_api_key, settings.alpaca_kill_secret_key),
        (settings.alpaca_api_key, settings.alpaca_secret_key),
    )
    found = [
        _Broker(settings.alpaca_base_url, key.get_secret_value(), secret.get_secret_value())
        for key, secret in pairs
        if key is not None and secret is not None
    ]
    if found:
        return found
    raise Misconfigured(
        "missing setting ALPACA_KILL_API_KEY, ALPACA_KILL_SECRET_KEY (or the main pair): "
        "set them in .env, or cancel on the broker's own page"
    )


def _cancelled(broker: _Broker, *, within: float) -> _Asked:
    """Cancel everything at `broker`; that it does not take the keys is an answer, since there may be others to ask."""
    headers = {"APCA-API-KEY-ID": broker.key, "APCA-API-SECRET-KEY": broker.secret}
    with httpx.Client(base_url=broker.url, headers=headers) as http:
        try:
            killed = cancel_everything(http, partial(wait_until, within_s=within))
        except Misconfigured as error:
            return _Asked(Killed(0, (), f"{broker.url}: {error}"), str(error))
    if killed.trouble is None:
        return _Asked(killed, None)
    return _Asked(replace(killed, trouble=f"{broker.url}: {killed.trouble}"), None)


def _together(results: Sequence[_Asked]) -> Killed:
    """One answer about all brokers; it is confirmed when each of them is."""
    troubles = [asked.killed.trouble for asked in results if asked.killed.trouble is not None]
    return Killed(
        sum(asked.killed.seen for asked in results),
        tuple(order for asked in results for order in asked.killed.still_open),
        "; ".join(troubles) or None,
    )


def _document(killed: Killed, switch: HaltFile, halted: str | None) -> dict[str, object]:
    return {
        "dry_run": False,
        "halt_file": str(switch.path),
        "halted": halted is None,
        "orders_seen": killed.seen,
        "confirmed": killed.is_confirmed,
        "still_open": list(killed.still_open),
        "trouble": killed.trouble,
    }


def _say(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, sort_keys=True))
        return
    for name, value in document.items():
        print(f"{name}: {value}")
    still = document.get("still_open")
    if isinstance(still, list) and (still or document.get("trouble")):
        print(f"cannot confirm yet: {len(still)}")

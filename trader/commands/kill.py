"""Stop trading when nothing answers any more: `trader kill`.

It asks no service and no database. First the halt file, which every executor on this machine looks for before it sends;
then every open order at the broker is cancelled, protective ones too. The risk manager records it once it runs again.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import httpx
import typer

from shared.adapters.halt_file import HaltFile
from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured
from trader.broker_kill import Killed, cancel_everything
from trader.exits import ExitCode
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance, halt_file_in, home_of_project
from trader.runtime.running import told_to
from trader.runtime.waiting import wait_until

app = typer.Typer()


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
        HaltFile(halt_file_in(home_of_project())).throw(reason)
        raise Misconfigured(f"trading is halted, but nothing was cancelled: {error}") from None
    switch = HaltFile(instance.halt_file)
    if dry_run:
        brokers = _brokers(instance)
        _say(
            {
                "dry_run": True,
                "halt_file": str(switch.path),
                "broker": " ".join(settings.alpaca_base_url for settings, _, _ in brokers),
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
    results = []
    for settings, key, secret in brokers:
        headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        with httpx.Client(base_url=settings.alpaca_base_url, headers=headers) as http:
            results.append(cancel_everything(http, partial(wait_until, within_s=within)))
    killed = _together(results)
    _say(_document(killed, switch, halted), as_json)
    if halted is not None:
        raise StackError(f"{halted}; stop the executor by hand: trader down trade_executor")
    if not killed.is_confirmed:
        raise typer.Exit(ExitCode.TIMED_OUT)


def _brokers(instance: Instance) -> list[tuple[Settings, str, str]]:
    """Where orders may be open, and the keys there: at the settings' broker, and where the running executor sends.

    A demo trades at the simulated venue whatever the settings say. Nothing but the broker's own settings is read: a
    mistake in any other must not keep orders alive.

    Raises:
        Misconfigured: there are keys for no broker at all.
    """
    running = _of_broker(told_to(instance, "trade_executor"))
    found = [_with_keys(load_settings(running))] if running else []
    try:
        own = _with_keys(load_settings(_of_broker(instance.settings)))
    except Misconfigured:
        if not found:
            raise
        return found
    if any(settings.alpaca_base_url == own[0].alpaca_base_url for settings, _, _ in found):
        return [own]
    return [*found, own]


def _of_broker(told: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in told.items() if key.startswith("ALPACA_")}


def _with_keys(settings: Settings) -> tuple[Settings, str, str]:
    return settings, *_keys(settings)


def _together(results: Sequence[Killed]) -> Killed:
    """One answer about all brokers; it is confirmed when each of them is."""
    troubles = [killed.trouble for killed in results if killed.trouble is not None]
    return Killed(
        sum(killed.seen for killed in results),
        tuple(order for killed in results for order in killed.still_open),
        "; ".join(troubles) or None,
    )


def _keys(settings: Settings) -> tuple[str, str]:
    pairs = (
        (settings.alpaca_kill_api_key, settings.alpaca_kill_secret_key),
        (settings.alpaca_api_key, settings.alpaca_secret_key),
    )
    for key, secret in pairs:
        if key is not None and secret is not None:
            return key.get_secret_value(), secret.get_secret_value()
    raise Misconfigured(
        "missing setting ALPACA_KILL_API_KEY, ALPACA_KILL_SECRET_KEY (or the main pair): "
        "set them in .env, or cancel on the broker's own page"
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

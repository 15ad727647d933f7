"""Stop trading when nothing answers any more: `trader kill`.

It asks no service and no database. First the halt file, which every executor on this machine looks for before it sends;
then every open order at the broker is cancelled, protective ones too, at each account for which something of this
system may have sent any (see `broker_accounts`). The risk manager records it once it runs again.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import httpx
import typer

from shared.adapters.halt_file import HaltFile
from shared.domain.errors import Misconfigured
from trader.broker_accounts import (
    EXECUTOR,
    SETTINGS,
    Account,
    holder_of_the_port,
    of_container,
    of_local_executor,
    of_settings,
)
from trader.broker_kill import Killed, account_id, cancel_everything
from trader.exits import ExitCode
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance
from trader.runtime.places import halt_file_in, home_in
from trader.runtime.running import last_told_to
from trader.runtime.waiting import wait_until

app = typer.Typer()

# The settings' two pairs, a local executor's, a container's as it is told now and as it was.
MOST_ACCOUNTS = 5
MAIN_PAIR = "the settings' main pair"
THROWN_BY = "trader kill"
NO_KEYS = (
    "missing setting ALPACA_KILL_API_KEY, ALPACA_KILL_SECRET_KEY (or the main pair): "
    "set them in .env, or cancel on the broker's own page"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What became of the orders at one account; `refused` is why its broker does not take the keys."""

    account: Account
    killed: Killed
    refused: str | None


@dataclass(frozen=True, slots=True)
class _MainPair:
    """What is to be said of the settings' main pair beside the kill command's own; `asked` where it was asked as well."""

    asked: _Asked | None = None
    doubt: str | None = None
    note: str | None = None


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
        HaltFile(halt_file_in(home_in(os.environ)), THROWN_BY).throw(reason)
        raise Misconfigured(f"trading is halted, but nothing was cancelled: {error}") from None
    switch = HaltFile(instance.halt_file, _thrown_by(instance))
    if dry_run:
        known, wrong = _known(instance)
        accounts, doubt = of_container(instance, known, holder_of_the_port(instance))
        accounts = [*_one_of_each(known), *accounts]
        if not accounts:
            raise wrong or Misconfigured(NO_KEYS)
        _say(
            {
                "dry_run": True,
                "halt_file": str(switch.path),
                "broker": " ".join(dict.fromkeys(each.url for each in accounts)),
                "is_halted": switch.note() is not None,
                "doubt": doubt if wrong is None else str(wrong),
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
    done = "trading is halted" if halted is None else halted
    known, wrong = _known(instance)
    # All at once: one that hangs keeps no other waiting, and nobody waits for who holds a port.
    with ThreadPoolExecutor(MOST_ACCOUNTS) as threads:
        asked = [threads.submit(_cancelled, each, within=within) for each in _one_of_each(known)]
        compared = threads.submit(_main_pair, known, within=within)
        accounts, doubt = of_container(instance, known, holder_of_the_port(instance))
        asked += [threads.submit(_cancelled, each, within=within) for each in accounts]
        results = [each.result() for each in asked]
        pair = compared.result()
    results += [pair.asked] if pair.asked is not None else []
    doubt = "; ".join(each for each in (doubt, pair.doubt) if each is not None) or None
    if not results:
        why = wrong or Misconfigured(NO_KEYS if doubt is None else f"{NO_KEYS}; {doubt}")
        raise Misconfigured(f"{done}, but nothing was cancelled: {why}")
    is_confirmed = (
        doubt is None and wrong is None and all(each.killed.is_confirmed for each in results)
    )
    if as_json:
        document = _document(results, is_confirmed, doubt, switch, halted)
        print(json.dumps({**document, "note": pair.note}, sort_keys=True))
    else:
        _tell(results, doubt, switch, halted)
        if pair.note is not None:
            print(f"note: {pair.note}")
    if halted is not None:
        raise StackError(f"{halted}; stop the executor by hand: trader down trade_executor")
    if wrong is not None:
        raise Misconfigured(
            f"{done}, but nothing was cancelled at the account of {SETTINGS}: {wrong}"
        )
    if refused := [result.refused for result in results if result.refused is not None]:
        raise Misconfigured("; ".join(dict.fromkeys(refused)))
    if not is_confirmed:
        raise typer.Exit(ExitCode.TIMED_OUT)


def _thrown_by(instance: Instance) -> str:
    """Who halts, for whoever meets the file later, perhaps with another account of this home."""
    label = last_told_to(instance, EXECUTOR).get("TRADING_ACCOUNT")
    return f"{THROWN_BY} while account {label} was traded here" if label else THROWN_BY


def _known(instance: Instance) -> tuple[list[Account], Misconfigured | None]:
    """All pairs of keys of the settings and of the executor that runs here; and what is wrong with the settings'."""
    wrong = None
    try:
        own = of_settings(instance.settings)
    except Misconfigured as error:
        own, wrong = [], error
    there = {(each.url, each.key) for each in own}
    local = of_local_executor(instance)
    return [*own, *(each for each in local if (each.url, each.key) not in there)], wrong


def _one_of_each(known: Sequence[Account]) -> list[Account]:
    """Both pairs of the settings are to be of one account (see `_main_pair`); the first is the kill command's own."""
    own = [each for each in known if each.told_by == SETTINGS]
    return [*own[:1], *(each for each in known if each.told_by != SETTINGS)]


def _main_pair(known: Sequence[Account], *, within: float) -> _MainPair:
    """Whether the main pair is of the account that the kill command's own pair opens; cancelled there where it is not."""
    own = [each for each in known if each.told_by == SETTINGS]
    if len(own) < 2:
        return _MainPair()
    kill, main = own[0], replace(own[1], told_by=MAIN_PAIR)
    waiting = partial(wait_until, within_s=within)
    try:
        with _at(kill) as http:
            kills = account_id(http, waiting)
    except Misconfigured:
        # Said by who cancels with them.
        return _MainPair()
    try:
        with _at(main) as http:
            # Whoever has not said the one in all that time is not waited for again.
            mains = account_id(http, waiting) if kills is not None else None
    except Misconfigured:
        return _MainPair(
            note="the broker does not take ALPACA_API_KEY, so whether it is of the account of ALPACA_KILL_API_KEY is "
            "not known: look at the broker's own page"
        )
    if mains is None:
        return _MainPair(
            doubt="the broker did not say whether ALPACA_KILL_API_KEY is of the account of ALPACA_API_KEY"
        )
    if kills == mains:
        return _MainPair()
    return _MainPair(
        _cancelled(main, within=within),
        "ALPACA_KILL_API_KEY is of another account than ALPACA_API_KEY: take a pair of the one that trades",
    )


def _at(account: Account) -> httpx.Client:
    """Speaks to the broker of `account`. Raises Misconfigured where its keys or address cannot be sent."""
    headers = {"APCA-API-KEY-ID": account.key, "APCA-API-SECRET-KEY": account.secret}
    try:
        return httpx.Client(base_url=account.url, headers=headers)
    except (UnicodeEncodeError, httpx.InvalidURL):
        raise Misconfigured(
            f"the keys or the address of {account.told_by} hold a character that cannot be sent: copy them anew, "
            "or cancel on the broker's own page"
        ) from None


def _cancelled(account: Account, *, within: float) -> _Asked:
    """Cancel everything at `account`; that it does not take the keys is an answer, since there may be others to ask."""
    try:
        with _at(account) as http:
            killed = cancel_everything(http, partial(wait_until, within_s=within))
    except Misconfigured as error:
        return _Asked(account, Killed(None, (), str(error)), str(error))
    return _Asked(account, killed, None)


def _document(
    results: Sequence[_Asked],
    is_confirmed: bool,
    doubt: str | None,
    switch: HaltFile,
    halted: str | None,
) -> dict[str, object]:
    troubles = [
        f"{each.account.url}: {each.killed.trouble}"
        for each in results
        if each.killed.trouble is not None
    ]
    return {
        "dry_run": False,
        "halt_file": str(switch.path),
        "halted": halted is None,
        "accounts": [
            {
                "broker": each.account.url,
                "keys_of": each.account.told_by,
                "orders_found": each.killed.found,
                "still_open": list(each.killed.still_open),
                "confirmed": each.killed.is_confirmed,
            }
            for each in results
        ],
        "confirmed": is_confirmed,
        "still_open": [order for each in results for order in each.killed.still_open],
        "trouble": "; ".join([*troubles, *([doubt] if doubt else [])]) or None,
    }


def _tell(
    results: Sequence[_Asked], doubt: str | None, switch: HaltFile, halted: str | None
) -> None:
    print(f"halted by {switch.path}" if halted is None else f"not halted: {halted}")
    for each in results:
        killed = each.killed
        print(f"{each.account.url}, keys of {each.account.told_by}: {_outcome(killed)}")
        for order in killed.still_open:
            print(f"  still open: {order}")
    if doubt is not None:
        print(f"cannot confirm: {doubt}")


def _outcome(killed: Killed) -> str:
    found = {None: "all orders", 1: "1 order"}.get(killed.found, f"{killed.found} orders")
    if killed.trouble is not None:
        return f"cannot confirm: {killed.trouble}"
    if killed.still_open:
        return f"cannot confirm yet: {found} told to cancel, {len(killed.still_open)} still open"
    return (
        f"confirmed: no order is open, {found} cancelled"
        if killed.found
        else "confirmed: no order is open"
    )


def _say(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, sort_keys=True))
        return
    for name, value in document.items():
        print(f"{name}: {value}")

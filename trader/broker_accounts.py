"""At which accounts may orders of this system be open?

At that of the settings, at that of the executor that runs on this machine, and at that of the executor's
container: a demo trades at the simulated venue whatever the settings say, and keys may have become those of
another account since an executor was started. What a container was told stands in a file that outlives it, so
it counts only where who holds the executor's port says that it was told so. Where no executor holds it, one that is just
down may have orders open all the same: that is said, and nothing is cancelled on a mere file's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from shared.config import PAPER_HOST, load_settings
from shared.domain.errors import Misconfigured
from shared.domain.ids import broker_mark
from trader.runtime.compose import seen_from_here, told_to_executors, told_to_lost_executors
from trader.runtime.instance import SIMULATOR, Instance
from trader.runtime.ports import is_free
from trader.runtime.running import last_told_to, told_to

EXECUTOR = "trade_executor"
SETTINGS, LOCAL, CONTAINER = "the settings", "the running executor", "the executor's container"
ANSWER_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Account:
    """Where to ask, and a pair of keys there; `told_by` says in words who has them."""

    told_by: str
    url: str
    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on the executor's port: an executor, where it does not name another service, or a stranger.

    `mark` is of the keys it sends with, where it says so; one that speaks no HTTP says nothing at all.
    """

    is_executor: bool
    mark: str | None
    speaks_http: bool = True


def of_settings(told: Mapping[str, str], told_by: str = SETTINGS) -> list[Account]:
    """The pairs of keys in `told`, that of the kill command first; they are of one account.

    Nothing but the broker's own settings is read: a mistake in any other must not keep orders alive.

    Raises:
        Misconfigured: one of these is wrong.
    """
    settings = load_settings(
        {name: text for name, text in told.items() if name.startswith("ALPACA_")}
    )
    pairs = (
        (settings.alpaca_kill_api_key, settings.alpaca_kill_secret_key),
        (settings.alpaca_api_key, settings.alpaca_secret_key),
    )
    return [
        Account(
            told_by, settings.alpaca_base_url, key.get_secret_value(), secret.get_secret_value()
        )
        for key, secret in pairs
        if key is not None and secret is not None
    ]


def of_local_executor(instance: Instance) -> list[Account]:
    """The account of the executor that runs as a process here; empty where none does."""
    return _readable(told_to(instance, EXECUTOR), LOCAL)


def of_container(
    instance: Instance, known: list[Account], holder: Holder | None
) -> tuple[list[Account], str | None]:
    """The account of the executor's container beside those `known`, by who holds the executor's port.

    Args:
        known: all pairs of the settings, since the executor is told another than the kill command has; and the
            local executor's.

    Returns:
        The accounts, and in words what keeps the answer from being sure; None where it is.
    """
    if holder is None or not holder.is_executor:
        return [], _lost(instance, known)
    told = told_to_executors(instance)
    port = instance.port_of(EXECUTOR)
    if holder.mark is None:
        if any(account.told_by == LOCAL for account in known):
            # That one holds the port, and its process was proven to be ours.
            return [], None
        if not holder.speaks_http:
            # No executor as we start them: what is written of those is no reason to cancel anything.
            doubt = (
                f"what listens on port {port}, the executor's, does not speak HTTP: see what it is"
            )
            return [], "; ".join(
                each for each in (doubt, _lost(instance, known)) if each is not None
            )
        doubt = f"the executor on port {port} does not say with which keys it sends"
        return _readable_all(instance, told), doubt
    if holder.mark in _marks(known):
        return [], None
    if found := [each for each in told if holder.mark in _marks(_readable(each, CONTAINER))]:
        return _readable_all(instance, found), None
    return [], (
        f"the executor on port {port} sends with keys that are not known here: cancel on "
        "that account's own page"
    )


def holder_of_the_port(instance: Instance) -> Holder | None:
    """Who listens where the executor does; None where nobody does."""
    if is_free(instance.port_of(EXECUTOR)):
        return None
    tokens = [instance.settings, *told_to_executors(instance)]
    read = dict.fromkeys(each.get("API_TOKEN_READ", "") for each in tokens)
    try:
        with httpx.Client(
            base_url=instance.url_of(EXECUTOR), timeout=ANSWER_WITHIN_S, trust_env=False
        ) as http:
            try:
                health = http.get("/health")
            except httpx.RemoteProtocolError:
                return Holder(is_executor=True, mark=None, speaks_http=False)
            if _text(health, "service") not in (None, EXECUTOR):
                return Holder(is_executor=False, mark=None)
            marks = (
                _text(
                    http.get("/version", headers={"Authorization": f"Bearer {token}"}),
                    "broker_mark",
                )
                for token in read
                # No header holds any other.
                if token and token.isascii()
            )
            return Holder(is_executor=True, mark=next((mark for mark in marks if mark), None))
    except httpx.HTTPError:
        # One that hangs may still have orders open.
        return Holder(is_executor=True, mark=None)


def _lost(instance: Instance, known: list[Account]) -> str | None:
    """Where an executor that is down may have orders open with keys that are not `known`; None: nowhere."""
    simulator, asked = instance.url_of(SIMULATOR), _marks(known)
    places: dict[str, None] = {}
    for told in (*told_to_lost_executors(instance), last_told_to(instance, EXECUTOR)):
        here = seen_from_here(instance, told)
        # As they stand there: that they cannot be used makes no order less open.
        key = here.get("ALPACA_API_KEY")
        url = here.get("ALPACA_BASE_URL") or f"https://{PAPER_HOST}"
        if key and url != simulator and broker_mark(url, key) not in asked:
            places[url] = None
    if not places:
        return None
    return (
        f"an executor that does not answer now was started with other keys for {', '.join(places)}: see that "
        "account's own page, and cancel there; said until the system is started anew with the keys of now, or make stop"
    )


def _text(response: httpx.Response, name: str) -> str | None:
    try:
        document = response.json()
    except ValueError:
        return None
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


def _marks(accounts: list[Account]) -> set[str]:
    return {broker_mark(account.url, account.key) for account in accounts}


def _readable_all(instance: Instance, told: list[Mapping[str, str]]) -> list[Account]:
    return [
        account for each in told for account in _readable(seen_from_here(instance, each), CONTAINER)
    ]


def _readable(told: Mapping[str, str], told_by: str) -> list[Account]:
    try:
        # Programs are told of the main pair alone.
        return of_settings(told, told_by)[:1]
    except Misconfigured:
        return []

"""How is everything at the broker cancelled when nothing of ours runs?

With the broker's REST interface alone and a pair of keys: ask to cancel all orders, then look until none is open.
A request that gets no answer is asked again, since cancelling twice does no harm. What cannot be confirmed in time
is said, never hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from shared.domain.errors import Misconfigured

_ANSWER_WITHIN_S = 2.0
# The broker shows so many open orders at a time; all are cancelled, also those it does not show.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Killed:
    """What became of the orders: how many the broker was found to have, and which are still open.

    `found` is None where it has not said which it was cancelling.
    """

    found: int | None
    still_open: tuple[str, ...]
    # Why the broker could not be asked at the end; None where it answered.
    trouble: str | None

    @property
    def is_confirmed(self) -> bool:
        """Whether the broker has said that no order is open."""
        return self.trouble is None and not self.still_open


def cancel_everything(
    http: httpx.Client, wait_until: Callable[[Callable[[], bool]], bool]
) -> Killed:
    """Cancel every open order and look until none is left or `wait_until` gives up.

    Args:
        http: speaks to the broker, with its base URL and keys.
        wait_until: calls its argument again and again until that is true or the time is up.
    Raises:
        Misconfigured: the broker does not take the keys.
    """
    named: set[str] | None = set()
    last = Killed(None, (), "the broker was not reached")

    def ask() -> bool:
        nonlocal last, named
        try:
            asked = _allowed(http.request("DELETE", "/v2/orders", timeout=_ANSWER_WITHIN_S))
            # Those it has just been told to cancel; the list of open ones no longer has them.
            told = _ids_in(asked)
            named = None if named is None or told is None else named | told
            found = _allowed(
                http.request(
                    "GET",
                    "/v2/orders",
                    params={"status": "open", "limit": _PAGE, "nested": "false"},
                    timeout=_ANSWER_WITHIN_S,
                )
            ).json()
            still = tuple(sorted(str(order["id"]) for order in found))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            last = Killed(last.found, last.still_open, f"the broker gave no answer: {error}")
            return False
        last = Killed(None if named is None else len(named.union(still)), still, None)
        return not still

    wait_until(ask)
    return last


def account_id(http: httpx.Client, wait_until: Callable[[Callable[[], bool]], bool]) -> str | None:
    """Which account the keys of `http` open, as the broker names it; None where it does not say in time.

    Args:
        http, wait_until: see `cancel_everything`.
    Raises:
        Misconfigured: the broker does not take the keys.
    """
    found: object = None

    def ask() -> bool:
        nonlocal found
        try:
            found = _allowed(http.get("/v2/account", timeout=_ANSWER_WITHIN_S)).json()
        except (httpx.HTTPError, ValueError):
            return False
        return True

    wait_until(ask)
    name = found.get("id") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _ids_in(response: httpx.Response) -> set[str] | None:
    try:
        return {str(order["id"]) for order in response.json()}
    except (ValueError, KeyError, TypeError):
        # What became of the orders is looked up in any case.
        return None


def _allowed(response: httpx.Response) -> httpx.Response:
    if response.status_code in (401, 403):
        raise Misconfigured(
            "the broker does not take these keys: check ALPACA_KILL_API_KEY and ALPACA_KILL_SECRET_KEY, "
            "or the main pair; the halt file stands"
        )
    return response.raise_for_status()

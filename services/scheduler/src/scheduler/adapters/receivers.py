"""How does a message reach a phone? Through apprise: Gotify as set, and whatever else apprise knows.

Addresses hold tokens, so they are never logged or repeated in an error. Apprise sends in threads and answers only
whether it arrived; its own timeouts are a few seconds, and ours stands behind them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from shared.config import Settings
from shared.domain.errors import Misconfigured
from shared.domain.notices import Event, Priority

_WITHIN_S = 15.0
_LONGEST_TEMPLATE = 4_000
_GOTIFY_SCHEMES = {"http": "gotify", "https": "gotifys"}


class AppriseReceiver:
    """See `Receiver`."""

    def __init__(self, gotify: str | None, others: Sequence[str]) -> None:
        """Raises Misconfigured when apprise does not know one of the addresses; it is not repeated."""
        # Here, since it reads a hundred plug-ins, which takes a second that most starts need not.
        import apprise

        self._apprise = apprise.Apprise
        # Its lines name addresses with their tokens.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        self._gotify = gotify
        self._others = list(others)
        for number, address in enumerate(self._others, 1):
            if not self._apprise().add(address):
                raise Misconfigured(
                    f"NOTIFY_URLS: apprise does not know address {number} of {len(self._others)}; "
                    "write it as its documentation shows, e.g. tgram://token/chat"
                )

    async def send(self, title: str, text: str, priority: Priority) -> str | None:
        """See `Receiver`."""
        notifier = self._apprise()
        if self._gotify is not None:
            notifier.add(f"{self._gotify}?priority={int(priority)}")
        for address in self._others:
            notifier.add(address)
        try:
            async with asyncio.timeout(_WITHIN_S):
                arrived = await notifier.async_notify(title=title, body=text)
        except TimeoutError:
            return f"no answer within {_WITHIN_S:.0f} s"
        except Exception as error:  # noqa: BLE001  # a plug-in of somebody else must not end the scheduler
            return f"the receiver failed: {type(error).__name__}"
        return None if arrived else "the receiver refused it or does not answer"


def receiver_of(settings: Settings) -> AppriseReceiver | None:
    """Whom the settings name; None when they name nobody.

    Raises:
        Misconfigured: half of Gotify's pair, or an address that is none.
    """
    url, token = settings.gotify_url, settings.gotify_token
    if (url is None) != (token is None):
        raise Misconfigured("set GOTIFY_URL and GOTIFY_TOKEN together, or neither")
    gotify = None
    if url is not None and token is not None:
        parts = urlsplit(url)
        if parts.scheme not in _GOTIFY_SCHEMES or not parts.netloc:
            raise Misconfigured("GOTIFY_URL must look like http://your-gotify-server:8080")
        path = parts.path.rstrip("/")
        secret = quote(token.get_secret_value(), safe="")
        gotify = f"{_GOTIFY_SCHEMES[parts.scheme]}://{parts.netloc}{path}/{secret}"
    others = settings.notify_urls.get_secret_value().split() if settings.notify_urls else []
    return AppriseReceiver(gotify, others) if gotify or others else None


def read_templates(folder: Path | None) -> dict[Event, str]:
    """The person's own words, by event.

    Raises:
        Misconfigured: the folder cannot be read.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise Misconfigured(f"NOTIFY_TEMPLATES {folder} is no folder; make it or unset it")
    found = {}
    for event in Event:
        file = folder / f"{event.value}.txt"
        if file.is_file():
            found[event] = file.read_text(encoding="utf-8")[:_LONGEST_TEMPLATE]
    return found

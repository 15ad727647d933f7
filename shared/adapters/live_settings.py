"""Which settings does a running service take anew, and who is told?

Only those whose change no open trade, connection or stored row depends on (`LIVE_SETTINGS`). They are checked like at
the start, all of one request or none, and what is changed, by whom and why stands in the log. They last until the
process ends; what is to last stands in `.env`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import structlog

from shared.config import LIVE_SETTINGS, Settings, load_settings
from shared.domain.errors import InvalidInput, Misconfigured

_log = structlog.get_logger(__name__)
Follow = Callable[[Settings], None]


class LiveSettings:
    """The live settings of one process, as they are now."""

    def __init__(self, settings: Settings) -> None:
        self._now = settings
        self._followers: list[Follow] = [_follow_log_level]

    def follow(self, follower: Follow) -> None:
        """Have `follower` told of every change; what it raises ends the change before anything else is told."""
        self._followers.insert(0, follower)

    @property
    def is_read_only(self) -> bool:
        """Whether this is maintenance: no request changes anything."""
        return self._now.api_read_only

    def values(self) -> dict[str, str]:
        """Their values now, as they are written in `.env`."""
        return {name.upper(): _written(getattr(self._now, name)) for name in LIVE_SETTINGS}

    def take(self, given: Mapping[str, str], *, actor: str, reason: str) -> dict[str, str]:
        """Take over `given`, name to text as in `.env` (empty: the default); says what changed.

        Raises:
            InvalidInput: one of them is not live, or may not be that; nothing was changed.
        """
        known = {name.upper(): name for name in LIVE_SETTINGS}
        fixed = sorted(name[:64] for name in given if name not in known)
        if fixed:
            raise InvalidInput(
                f"{', '.join(fixed[:10])} cannot change while the service runs; set it in .env and restart "
                f"it. What can: {', '.join(known)}"
            )
        try:
            wanted = load_settings(dict(given))
        except Misconfigured as error:
            raise InvalidInput(str(error)) from None
        before = self.values()
        names = [known[name] for name in given]
        after = self._now.model_copy(update={name: getattr(wanted, name) for name in names})
        for follower in self._followers:
            follower(after)
        self._now = after
        changed = {name: new for name, new in self.values().items() if new != before[name]}
        for name, new in changed.items():
            # A warning, so that no level that is set hides it.
            _log.warning(
                "setting changed",
                setting=name,
                before=before[name],
                now=new,
                actor=actor,
                reason=reason,
            )
        return changed


def _follow_log_level(settings: Settings) -> None:
    logging.getLogger().setLevel(settings.log_level)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"{name}={chosen}" for name, chosen in value)
    return str(value)

"""Settings: with what everything runs, which builds, and what this token may do."""

from __future__ import annotations

import asyncio

from pydantic import SecretStr

from dashboard.adapters.services import SERVICES
from dashboard.parts.controls import card, element
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import settings
from shared.config import Settings


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    with element("div", "grid"):
        with card("Settings", "w8", "as this process was told; change them in .env and restart"):
            table = Table("Settings", settings.COLUMNS, empty="None.", sort="name")
        with element("div", "w4 stack"):
            with card("Your token", note=visit.rights.role):
                rights = Table("Your token", settings.RIGHTS, empty="None.", searchable=False)
            with card("Versions"):
                versions = Table("Versions", settings.VERSIONS, empty="None.", searchable=False)
    may = visit.rights
    rights.show(
        settings.rights(
            {
                "look at everything": True,
                "halt, and let only exits leave": may.may_halt,
                "trade, resume, run jobs": may.may_operate,
                "change limits": may.may_set_limits,
            }
        )
    )
    table.show(settings.rows(known_settings(visit.rooms.settings)))

    async def refresh() -> None:
        answers = await asyncio.gather(
            *(visit.answer_or(service, "/version", 30.0) for service in SERVICES)
        )
        versions.show(settings.versions(dict(zip(SERVICES, (a for a, _ in answers), strict=True))))

    return refresh


def known_settings(known: Settings) -> list[tuple[str, object, bool, bool]]:
    """Name, value, whether it is a secret, whether it is the default; a secret only as whether it is set."""
    found: list[tuple[str, object, bool, bool]] = []
    for name, field in Settings.model_fields.items():
        value = getattr(known, name)
        secret = "SecretStr" in str(field.annotation) or isinstance(value, SecretStr)
        found.append((name, value is not None if secret else value, secret, value == field.default))
    return found

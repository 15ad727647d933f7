"""What a running service takes over, and what it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import httpx
import pytest

from shared.adapters.http_api import Role, make_app, requires
from shared.adapters.live_settings import LiveSettings
from shared.config import Settings, load_settings
from shared.domain.errors import InvalidInput
from shared.testing.time import InstantTimer

TOKENS = {"API_TOKEN_READ": "read-token-0", "API_TOKEN_ADMIN": "admin-token-0"}


@pytest.fixture(autouse=True)
def level_as_before() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def test_a_change_reaches_the_log_and_whoever_follows_and_says_what_it_was() -> None:
    live = LiveSettings(load_settings({}))
    seen: list[Settings] = []
    live.follow(seen.append)

    wish = {"LOG_LEVEL": "DEBUG", "NOTIFY_QUIET_HOURS": "22:00-07:00", "NOTIFY_EVENTS": ""}
    changed = live.take(wish, actor="token:admin", reason="looking closely")

    assert changed == {"LOG_LEVEL": "DEBUG", "NOTIFY_QUIET_HOURS": "22:00-07:00"}
    assert logging.getLogger().level == logging.DEBUG
    assert seen[0].quiet_hours is not None
    assert live.take(wish, actor="token:admin", reason="again") == {}


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"LOG_LEVEL": "DEBUG", "RISK_DRAWDOWN_LIMIT": "0.9"}, "RISK_DRAWDOWN_LIMIT cannot change"),
        ({"LOG_LEVEL": "DEBUG", "NOTIFY_EVENTS": "party=on"}, "NOTIFY_EVENTS"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
    ],
)
def test_what_may_not_change_or_not_be_that_changes_nothing(wish: dict[str, str], why: str) -> None:
    live = LiveSettings(load_settings({}))
    before = live.values()

    with pytest.raises(InvalidInput, match=why):
        live.take(wish, actor="token:admin", reason="try")

    assert live.values() == before


def test_in_maintenance_nothing_changes_on_request_but_a_halt_and_the_end_of_it() -> None:
    async def main() -> list[tuple[int, str | None]]:
        tokens = {
            **TOKENS,
            "API_TOKEN_OPERATE": "operate-token-0",
            "API_TOKEN_KILL": "kill-token-0",
        }
        app = make_app("risk_manager", load_settings(tokens), {}, InstantTimer())
        for path, role in (
            ("/resume", Role.OPERATE),
            ("/limits", Role.ADMIN),
            ("/halt", Role.KILL),
        ):
            app.add_api_route(path, lambda: "done", methods=["POST"], dependencies=[requires(role)])

        async def ask(path: str, token: str, body: object = None) -> tuple[int, str | None]:
            headers = {"Authorization": f"Bearer {token}-token-0"}
            answer = await http.post(path, json=body, headers=headers)
            said = answer.json()
            return answer.status_code, said.get("code") if isinstance(said, dict) else None

        def wish(read_only: str) -> dict[str, object]:
            return {"settings": {"API_READ_ONLY": read_only}, "reason": "moving the disk"}

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as http:
            return [
                await ask("/settings/live", "admin", wish("true")),
                await ask("/resume", "operate"),
                await ask("/limits", "admin"),
                await ask("/halt", "kill"),
                await ask("/settings/live", "admin", wish("false")),
                await ask("/resume", "operate"),
            ]

    closed = (503, "read_only")
    assert asyncio.run(main()) == [
        (200, None),
        closed,
        closed,
        (200, None),
        (200, None),
        (200, None),
    ]


def test_everybody_with_a_token_may_look_and_only_an_admin_may_change() -> None:
    async def main() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        app = make_app("scheduler", load_settings(TOKENS), {}, InstantTimer())
        wish = {"settings": {"LOG_LEVEL": "ERROR"}, "reason": "too loud"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as http:
            read = {"Authorization": "Bearer read-token-0"}
            admin = {"Authorization": "Bearer admin-token-0"}
            refused = await http.post("/settings/live", json=wish, headers=read)
            taken = await http.post("/settings/live", json=wish, headers=admin)
            return refused, taken, await http.get("/settings/live", headers=read)

    refused, taken, shown = asyncio.run(main())

    assert refused.status_code == 403
    assert taken.json()["changed"] == ["LOG_LEVEL"]
    assert shown.json()["settings"]["LOG_LEVEL"] == "ERROR"

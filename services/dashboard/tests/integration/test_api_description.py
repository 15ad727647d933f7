"""The dashboard's API does what it says of itself, on real servers, and its pages' door stands whatever is knocked with."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse

from dashboard.api import COOKIE, Door
from dashboard.sessions import Sessions
from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.http_api import Tokens, make_app
from shared.adapters.postgres import open_database
from shared.adapters.redis import open_redis, redis_is_answering
from shared.domain.errors import Rejected
from trader.testing.apis import (
    ABSURD_WORDS,
    HOST,
    TOKENS,
    Api,
    ApiContract,
    Served,
    counted_rows,
    living,
)
from trader.testing.servers import Servers

PLACES = (
    "/{}",
    "/reports/{}",
    "/backtests/{}/report",
    "/login?next={}",
    "/assets/{}",
    "/_nicegui_ws/{}",
)


@contextlib.asynccontextmanager
async def opened(servers: Servers) -> AsyncIterator[Served]:
    settings = servers.settings("dashboard", "api-of-the-dashboard", **TOKENS)
    timer = MonotonicTimer()

    async def none(name: str) -> str:
        raise Rejected(f"there is no {name}")

    async with (
        open_database(settings, timer, application="test") as database,
        open_redis(settings) as redis,
        counted_rows(servers.instance) as stored,
    ):

        async def redis_answers() -> bool:
            return await redis_is_answering(redis)

        probes = {"postgres": database.is_answering, "redis": redis_answers}
        common = make_app("dashboard", settings, probes, timer)
        sessions = Sessions(timer, RandomIds(), settings.dashboard_session_s)
        # Pages are the browser tests' business; here they say that somebody came in.
        pages = PlainTextResponse("a page")
        yield Served(
            Door(common, pages, sessions, Tokens(settings), none, none),
            stored,
            bodies={
                "POST /settings/live": {"settings": {"LOG_LEVEL": "INFO"}, "reason": "a drill"}
            },
        )


@pytest.fixture(scope="class")
def api(servers: Servers) -> Iterator[Api]:
    with living(opened(servers)) as api:
        yield api


class TestDashboardApi(ApiContract):
    """What it has in common with the services; its pages are no API."""

    @given(
        method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
        place=st.sampled_from(PLACES),
        word=st.sampled_from(ABSURD_WORDS),
        accept=st.sampled_from(["text/html", "*/*"]),
        enters=st.booleans(),
    )
    def test_no_address_breaks_the_door(
        self, api: Api, method: str, place: str, word: str, accept: str, enters: bool
    ) -> None:
        headers = {"Accept": accept, "Origin": f"http://{HOST}"}
        if enters:
            form = {"token": TOKENS["API_TOKEN_READ"], "next": place.format("A")}
            entered = api.ask("POST", "/login", None, headers=headers, data=form)
            headers["Cookie"] = f"{COOKIE}={entered.cookies[COOKIE]}"

        answer = api.ask(method, place.format(word), None, headers=headers)

        assert answer.status_code < 500
        assert "\n" not in answer.headers.get("location", "")

    @given(
        form=st.one_of(
            st.binary(max_size=200),
            st.sampled_from(ABSURD_WORDS).map(lambda word: f"token={word}&next={word}".encode()),
        )
    )
    def test_no_form_breaks_the_login_or_opens_the_door(self, api: Api, form: bytes) -> None:
        headers = {"Origin": f"http://{HOST}", "Content-Type": "application/x-www-form-urlencoded"}

        answer = api.ask("POST", "/login", None, headers=headers, content=form)

        assert answer.status_code in (401, 413, 429)
        assert COOKIE not in answer.cookies

"""Are the lists still fast, and usable on a phone, with ten thousand rows in each?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from shared.testing.figures import Figure
from tests.browser.conftest import PICTURES, SETTINGS, Live, Person, a_stack
from trader.replay.session import ReplayPlan
from trader.runtime.credentials import OWNER
from trader.runtime.waiting import machine_seconds, wait_until
from trader.testing.connections import connected

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]
Enter = Callable[..., Person]
MANY = 10_000
# Of each table one row is copied so often, with what must differ.
COPIES = {
    "trade_executor.intents": "'client_order_id', x.client_order_id || '-' || n, 'sequence', x.sequence + n, 'signal_id', x.signal_id || '-' || n",
    "risk_manager.decisions": "'decision_id', x.decision_id || '-' || n, 'signal_id', x.signal_id || '-' || n, 'id', x.id + n",
    "strategy_engine.signals": "'signal_id', x.signal_id || '-' || n, 'id', x.id + n, "
    "'strategy', 'copy_' || n",
    "scheduler.notices": "'number', x.number + n, 'key', x.key || '-' || n",
    "scheduler.job_runs": "'run_id', x.run_id || '-' || n, 'number', x.number + n, 'kind', 'manual', 'actor', 'somebody', "
    "'due_at', x.due_at + n * interval '1 second'",
}
NUMBERED = {
    "trade_executor.intents": "sequence",
    "risk_manager.decisions": "id",
    "strategy_engine.signals": "id",
    "scheduler.notices": "number",
    "scheduler.job_runs": "number",
}
# What asks nothing of anybody any more.
FINAL = {"trade_executor.intents": "state = 'FILLED'", "scheduler.job_runs": "state = 'DONE'"}
A_NOTICE = """
    INSERT INTO scheduler.notices
        (account, event, key, title, body, priority, state, tries, created_at, due_at, sent_at)
    SELECT account, 'fill', 'copied', 'Filled: buy 1 AAPL', 'at 100 USD, fee 0 USD', 5, 'SENT', 1,
           created_at, created_at, created_at
    FROM trade_executor.intents ORDER BY sequence DESC LIMIT 1
"""
LISTS = [
    ("/orders", "Orders"),
    ("/decisions", "Decisions"),
    ("/signals", "Signals"),
    ("/jobs", "Runs"),
    ("/logs", "What people had done"),
    ("/logs", "What people were told"),
    ("/logs", "What the services said"),
]


async def copy(live: Live) -> None:
    async with connected(live.instance, OWNER) as connection:
        await connection.execute(A_NOTICE)
        for table, changes in COPIES.items():
            # Chaining each row for the audit takes its time, and is nothing that a page shows.
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            number = NUMBERED[table]
            await connection.execute(f"""
                INSERT INTO {table} OVERRIDING SYSTEM VALUE
                SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(x) || jsonb_build_object({changes}))).*
                FROM (SELECT * FROM {table} WHERE {FINAL.get(table, "true")} ORDER BY {number} DESC LIMIT 1) AS x,
                     generate_series(1, {MANY}) AS n
            """)
            # The services go on counting behind them.
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{number}'), max({number})) FROM {table}"
            )
            await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        await connection.execute("ANALYZE")


def run_a_job(live: Live) -> None:
    bearer = {"Authorization": f"Bearer {live.token('operate')}"}
    jobs = live.instance.url_of("scheduler") + "/jobs/service_health"
    httpx.post(f"{jobs}/trigger", headers=bearer, timeout=60).raise_for_status()

    def is_done() -> bool:
        runs = httpx.get(f"{jobs}/runs", headers=bearer, timeout=60).json()["items"]
        return any(run["state"] == "DONE" for run in runs)

    assert wait_until(is_done, 60)


@pytest.fixture(scope="module")
def live(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("rows")
    with a_stack(folder, ReplayPlan(), SETTINGS) as stack:
        stack.go_on(20)
        run_a_job(stack)
        stack.run(copy(stack))
        log = stack.instance.logs / "trading_system.log"
        line = {"timestamp": "2026-01-05T15:30:00Z", "level": "info", "service": "scheduler"}
        with log.open("a") as file:
            file.writelines(
                json.dumps({**line, "event": f"line {n}", "detail": "x" * 200}) + "\n"
                for n in range(MANY)
            )
        yield stack


@pytest.mark.parametrize("width", [1440, 390])
def test_a_list_of_ten_thousand_rows_opens_and_turns_in_pages_that_fit(
    enter: Enter, live: Live, width: int, figure: Figure
) -> None:
    person = enter("operate", width)
    page = person.page
    told: list[str] = []

    for path, name in LISTS:
        began_s = machine_seconds()
        person.open(path)
        table = page.get_by_role("table", name=name, exact=True)
        rows = table.locator("tbody tr")
        expect(rows.first).to_be_visible()
        opened_s = machine_seconds() - began_s
        pager = page.locator("section.card", has=table).locator(".pager")
        began_s = machine_seconds()
        pager.get_by_role("button", name="Older").click()
        expect(pager.get_by_role("button", name="Newest")).to_be_visible()
        expect(rows.first).to_be_visible()
        turned_s = machine_seconds() - began_s
        pager.get_by_role("button", name="Newest").click()
        expect(pager.get_by_role("button", name="Newest")).to_be_hidden()
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(over) <= 0
        told.append(f"{name} {opened_s:.2f}, {turned_s:.2f}")

    figure(
        f"{MANY} rows at {width} px, seconds to open and to turn, at a load of {os.getloadavg()[0]:.0f}: "
        + "; ".join(told)
    )
    page.screenshot(path=PICTURES / f"many-rows-{width}-light.png")
    assert person.complaints == []

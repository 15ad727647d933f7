"""Do we and the broker agree?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dashboard.shown.texts import (
    BAD,
    GOOD,
    MUTED,
    Cell,
    Column,
    Row,
    age,
    count,
    full_time,
    moment,
    money,
    state,
    title,
    words,
)

STATS = (
    ("state", "Executor", ""),
    ("compared", "Last compared", ""),
    ("open", "Open differences", ""),
    ("cash", "Cash by the ledger", "USD"),
    ("account", "Broker's account", ""),
)
COLUMNS = (
    Column("at", "Opened"),
    Column("kind", "Difference"),
    Column("subject", "Of"),
    Column("ours", "We have", wide=True),
    Column("theirs", "The broker has", wide=True),
    Column("state", "State"),
)


def stats(
    account: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, Cell]:
    """The strip of figures."""
    still = sum(each["closed_at"] is None for each in differences)
    shown = {
        "open": Cell(
            count(still),
            BAD if still else GOOD,
            sub="entries in these symbols wait" if still else "we agree",
        )
    }
    if account:
        chip = state(account["state"])
        shown |= {
            "state": Cell(chip.text, chip.tone, sub=words(account["reason"])),
            "compared": Cell(
                age(account["reconciled_at"], now), sub=full_time(account["reconciled_at"])
            ),
            "cash": Cell(money(account["cash"])),
            "account": Cell(
                words(account["broker_account_id"])[:13], sub=f"label {words(account['account'])}"
            ),
        }
    return shown


def rows(differences: Sequence[Mapping[str, Any]], *, may_acknowledge: bool) -> list[Row]:
    """One line per difference, open ones first."""
    return [
        Row(
            f"{each['id']}:{each['symbol'] or ''}",
            {
                "at": moment(each["opened_at"]),
                "kind": Cell(title(str(each["kind"]).lower())),
                "subject": Cell(words(each["subject"])),
                "ours": Cell(words(each["ours"])),
                "theirs": Cell(words(each["theirs"])),
                "state": Cell("open", BAD, chip=True)
                if each["closed_at"] is None
                else Cell(
                    "closed",
                    MUTED,
                    f"by {words(each['closed_by'])}, {moment(each['closed_at']).text}",
                    chip=True,
                ),
            },
            (("acknowledge", "Acknowledge"),)
            if may_acknowledge and each["closed_at"] is None and each["symbol"]
            else (),
        )
        for each in differences
    ]

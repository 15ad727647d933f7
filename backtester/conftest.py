"""Bars in files, for tests of the command."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def daily_bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One year of AAPL, 250 days of made-up prices, as a CSV file."""
    folder = tmp_path_factory.mktemp("bars")
    rng = np.random.default_rng(4)
    days = [d for d in np.arange("2023-01-03", "2023-12-30", dtype="M8[D]") if np.is_busday(d)]
    holidays = {"2023-01-16", "2023-02-20", "2023-04-07", "2023-05-29", "2023-06-19", "2023-07-04",
                "2023-09-04", "2023-11-23", "2023-12-25"}  # fmt: skip
    days = [d for d in days if str(d) not in holidays]
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0.001, 0.03, len(days)))), 2)
    lines = ["date,open,high,low,close,volume"]
    for day, price in zip(days, close, strict=True):
        lines.append(f"{day},{price},{price + 1},{price - 1},{price},1000000")
    (folder / "AAPL.csv").write_text("\n".join(lines) + "\n")
    return folder / "AAPL.csv"

#!/usr/bin/env python3
"""Test a strategy on recorded bars; the same as `trader backtest run`.

Any Python may start it: it goes on in the project's own one.

Example: python scripts/backtest.py --strategy moving_average --symbol AAPL --start 2023-01-01
"""

import gc
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
USAGE = 4


def main() -> int:
    """Run the command in the project's environment and return its exit code."""
    home = PROJECT / ".venv"
    python = home / "bin" / "python"
    if Path(sys.prefix).resolve() != home.resolve():
        if not python.exists():
            print(f"backtest: {home} is missing; run `make setup` in {PROJECT}", file=sys.stderr)
            return USAGE
        os.execv(python, [str(python), __file__, *sys.argv[1:]])  # noqa: S606  # our own interpreter
    # Importing makes many objects and no garbage; looking for some again and again takes a tenth of the start.
    gc.set_threshold(100_000, 20, 20)
    try:
        from trader.cli import main as trader
    except ImportError as error:
        print(f"backtest: {error.name} is missing; run `make setup` in {PROJECT}", file=sys.stderr)
        return USAGE
    return trader(["backtest", "run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())

"""An executor that ends like a power cut when it passes the place named on its command line."""

from __future__ import annotations

import os
import sys

from shared import crashpoints
from shared.adapters.process import run_service
from trade_executor.__main__ import run


def main(place: str) -> int:
    assert place in crashpoints.POINTS

    def end(name: str) -> None:
        if name == place:
            os._exit(137)

    crashpoints.listen(end)
    return run_service("trade_executor", run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

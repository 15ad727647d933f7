"""A service that ends like a power cut when it passes a place: `python crashing.py PLACE MODULE`."""

from __future__ import annotations

import os
import runpy
import sys

from shared import crashpoints


def main(place: str, module: str) -> None:
    assert place in crashpoints.POINTS

    def end(name: str) -> None:
        if name == place:
            os._exit(137)

    crashpoints.listen(end)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

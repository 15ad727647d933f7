"""What may name a share?

Symbols reach file paths, queries and orders, so text becomes a `Symbol` only here.
"""

from __future__ import annotations

import re
from typing import NewType

from shared.domain.errors import InvalidSymbol

Symbol = NewType("Symbol", str)

# fullmatch, because `$` would let a trailing newline through.
_SYMBOL = re.compile(r"[A-Z][A-Z0-9.]{0,9}")


def parse_symbol(text: str) -> Symbol:
    """Return `text` as a symbol.

    Raises:
        InvalidSymbol: anything but an upper-case letter followed by at most nine of A-Z, 0-9, dot.
    """
    if _SYMBOL.fullmatch(text) is None:
        raise InvalidSymbol(
            f"{text[:40]!r} is not a symbol: use 1 to 10 of A-Z, 0-9 and dot, a letter first"
        )
    return Symbol(text)

"""In how many ways can a provider give no answer?

Each is a type of its own, because people mend them differently, and all of them are `Unavailable`: none is
ever taken for an answer that holds nothing. That answer is an empty page, and no error.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.errors import Rejected, Unavailable
from shared.domain.symbols import Symbol


class Unreachable(Unavailable):
    """No connection, or one that broke before an answer began."""


class TooSlow(Unavailable):
    """The answer was not there, or not whole, within the time allowed."""


class Truncated(Unavailable):
    """An answer began as it should and ended before its end."""


class NotData(Unavailable):
    """Something else than data: a login page, a notice, a redirect to one of these."""


class ServerFailed(Unavailable):
    """The provider says that it cannot answer now."""


class SymbolsRefused(Rejected):
    """The provider knows some symbols not, or does not give them to us; it gave all the others before."""

    def __init__(self, provider: str, symbols: Sequence[Symbol], why: str) -> None:
        names = ", ".join(symbols[:10]) + (" and more" if len(symbols) > 10 else "")
        super().__init__(f"{provider} has no bars of {names}: {why}")
        self.symbols = tuple(symbols)

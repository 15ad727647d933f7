"""Is what was written still what was written?

Rows that must never change are chained in the database: the hash of each covers its content and the hash before it.
Here the chains are computed anew, outside the database that holds them, and the first row that does not fit is named.
A whole chain that was made up anew fits itself; it does not fit the hashes of an export that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database
from shared.domain.errors import InvalidInput, StateMismatch

_HEADS = text("""
    SELECT chain, account, length, encode(hash, 'hex') FROM audit.v_heads
    WHERE account = :account ORDER BY chain
""")
_ENTRIES = text("""
    SELECT position, entry_id, content, encode(hash, 'hex') FROM audit.v_entries
    WHERE chain = :chain AND account = :account AND position > :after
    ORDER BY position LIMIT :limit
""")
_UNCHAINED = text("""
    SELECT chain, entry_id FROM audit.v_unchained
    WHERE account = :account ORDER BY chain, entry_id LIMIT 1
""")
# Rows read at once: content is at most a few kilobytes, so this stays within some megabytes.
_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a chain; `content` is its JSON text, None when the row is gone. The hash is hexadecimal."""

    position: int
    entry_id: int
    content: str | None
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """How long a chain of an account is, and its last hash."""

    chain: str
    account: str
    length: int
    hash: str


class ChainBroken(StateMismatch):
    """A chain does not fit; the message names the first bad row."""


class Follower:
    """One chain, followed row by row."""

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._before = b""
        self._position = 0

    @property
    def length(self) -> int:
        """How many rows have fitted so far."""
        return self._position

    @property
    def hash(self) -> str:
        """The hash of the newest row that fitted."""
        return self._before.hex()

    def follow(self, entry: Entry) -> None:
        """Take the next row.

        Raises:
            ChainBroken: it is missing, or not what it was when it was written.
        """
        expected = self._position + 1
        if entry.position != expected:
            raise ChainBroken(f"{self._chain}: link {expected} is missing")
        if entry.content is None:
            raise ChainBroken(f"{self._chain}: row {entry.entry_id} (link {expected}) was removed")
        found = hashlib.sha256(self._before + entry.content.encode())
        if found.hexdigest() != entry.hash:
            raise ChainBroken(
                f"{self._chain}: row {entry.entry_id} (link {expected}) is not what was written"
            )
        self._before = found.digest()
        self._position = expected

    def end(self, head: Head) -> None:
        """Compare with how the chain should end.

        Raises:
            ChainBroken: its tail was cut or made up.
        """
        if (self.length, self.hash) != (head.length, head.hash):
            raise ChainBroken(
                f"{self._chain}: {self.length} rows are there, the chain was {head.length} long"
                if self.length != head.length
                else f"{self._chain}: its last hash is not the one that was kept"
            )


class Audit:
    """The chains of one account, as the database holds them."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def heads(self) -> list[Head]:
        """Every chain of the account, by name."""

        async def read(connection: AsyncConnection) -> list[Head]:
            rows = await connection.execute(_HEADS, {"account": self._account})
            return [Head(*row) for row in rows]

        return await self._database.read(read)

    async def entries(self, chain: str) -> AsyncIterator[Entry]:
        """The rows of one chain, in their order; read a page at a time."""
        after = 0
        while True:
            page = await self._page(chain, after)
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].position

    async def require_all_chained(self) -> None:
        """Raises ChainBroken for a row that came in past the chain."""

        async def read(connection: AsyncConnection) -> str | None:
            row = (await connection.execute(_UNCHAINED, {"account": self._account})).one_or_none()
            return None if row is None else f"{row.chain}: row {row.entry_id} was put in unchained"

        found = await self._database.read(read)
        if found is not None:
            raise ChainBroken(found)

    async def _page(self, chain: str, after: int) -> list[Entry]:
        values = {"chain": chain, "account": self._account, "after": after, "limit": _PAGE}

        async def read(connection: AsyncConnection) -> list[Entry]:
            return [Entry(*row) for row in await connection.execute(_ENTRIES, values)]

        return await self._database.read(read)


async def verify(audit: Audit, kept: Mapping[str, Mapping[int, str]]) -> list[Head]:
    """Follow every chain to its end; return the heads that were reached.

    Args:
        kept: hashes of an export made earlier, per chain and position; a chain must still pass through them.

    Raises:
        ChainBroken: names the first bad row.
    """
    heads = await audit.heads()
    for chain in kept.keys() - {head.chain for head in heads}:
        raise ChainBroken(f"{chain}: the whole chain is gone, the export has it")
    for head in heads:
        expected = kept.get(head.chain, {})
        follower = Follower(head.chain)
        reached = follower.hash
        async for entry in audit.entries(head.chain):
            follower.follow(entry)
            if entry.position == head.length:
                reached = follower.hash
            if expected.get(entry.position, entry.hash) != entry.hash:
                raise ChainBroken(
                    f"{head.chain}: row {entry.entry_id} (link {entry.position}) is not the exported one"
                )
        if follower.length > head.length and reached == head.hash:
            # Written while this was read, if the chain has grown as well; else put behind its end.
            grown = {each.chain: each for each in await audit.heads()}[head.chain]
            if follower.length > grown.length:
                follower.end(grown)
        else:
            follower.end(head)
        if expected and max(expected) > head.length:
            raise ChainBroken(
                f"{head.chain}: {head.length} rows are there, the export has {max(expected)}"
            )
    await audit.require_all_chained()
    return heads


def line_of(chain: str, account: str, entry: Entry) -> str:
    """One line of an export."""
    return json.dumps(
        {
            "chain": chain,
            "account": account,
            "position": entry.position,
            "row": entry.entry_id,
            "content": entry.content,
            "hash": entry.hash,
        },
        ensure_ascii=False,
    )


def verify_export(lines: Iterable[str], account: str) -> dict[str, dict[int, str]]:
    """Follow the chains of an export; return its hashes, as `verify` compares them.

    Raises:
        InvalidInput: a line that no export of `account` has.
        ChainBroken: names the first bad row.
    """
    followers: dict[str, Follower] = {}
    kept: dict[str, dict[int, str]] = {}
    for chain, entry in _parsed(lines, account):
        followers.setdefault(chain, Follower(chain)).follow(entry)
        kept.setdefault(chain, {})[entry.position] = entry.hash
    return kept


def _parsed(lines: Iterable[str], account: str) -> Iterator[tuple[str, Entry]]:
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            chain, owner = str(said["chain"]), str(said["account"])
            entry = Entry(
                int(said["position"]), int(said["row"]), str(said["content"]), str(said["hash"])
            )
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(
                f"line {number} is no line of an audit export; make one with `trader export audit`"
            ) from None
        if owner != account:
            raise InvalidInput(
                f"line {number} belongs to account {owner[:40]!r}; name it with --account"
            )
        yield chain, entry


def read_export(path: Path, account: str) -> dict[str, dict[int, str]]:
    """`verify_export` of a file.

    Raises:
        InvalidInput: it cannot be read. ChainBroken: see `verify_export`.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return verify_export(lines, account)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None

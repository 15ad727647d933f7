"""How is what people write in a setting read?

Each reader takes the text and gives the value, or raises ValueError with the sentence that says how to write it: pydantic gathers
those and says which setting each is about.
"""

from __future__ import annotations

from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.money import parse_number
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.storage import parse_address

# What pydantic names by the first word of a complaint's type, and how a person writes it.
_WRITTEN_LIKE = {
    "bool": "write true or false",
    "int": "write a whole number, like 10",
    "time": "write a time of day, like 09:30",
}


def complaint(kind: str, message: str) -> str:
    """What to write in the place of a value that was refused as `kind`, with `message` in pydantic's words."""
    words = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return _WRITTEN_LIKE.get(kind.partition("_")[0], words)


def strip_comment(value: object) -> object:
    """Drop what follows ` #`, since Compose and shells hand inline comments on in different ways."""
    if isinstance(value, str):
        return value.split(" #", 1)[0].strip()
    return value


def plain_number(text: str) -> str:
    """`text` when it writes a number as everybody reads it; pydantic takes 1_0 and the digits of other scripts as well."""
    try:
        parse_number(text.strip())
    except ValueError:
        raise ValueError("write a number in plain digits, like 10 or 0.05") from None
    return text


def timeframe(value: object) -> Timeframe:
    """A timeframe by its name, like 1Min."""
    # Pydantic gathers ValueErrors and says which setting each is about.
    try:
        return parse_timeframe(str(value))
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def place(value: object) -> object:
    """A folder's or bucket's address, when it is written as text."""
    return parse_address(value) if isinstance(value, str) else value


def one_symbol(value: object) -> Symbol:
    """A symbol, as everything else here writes it."""
    try:
        return parse_symbol(str(value))
    except InvalidSymbol as error:
        raise ValueError(str(error)) from None


def pairs(value: str) -> tuple[tuple[str, str], ...]:
    """The pairs of `name=value,name=value`; each name once."""
    found: dict[str, str] = {}
    for part in (part.strip() for part in value.split(",")):
        if not part:
            continue
        name, equals, given = (each.strip() for each in part.partition("="))
        if not (name and equals and given) or name in found:
            raise ValueError("write name=value,name=value with each name once")
        found[name] = given
    return tuple(found.items())

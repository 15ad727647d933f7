"""Does the person really want what cannot be undone?

Asked on the terminal. A script says `CONFIRM=yes` (or `--yes`) instead; without a terminal and without
that word nothing is done.
"""

import os
import sys
from typing import Annotated

import typer

from shared.domain.errors import InvalidInput

YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask; the same as CONFIRM=yes in the environment.")
]


def confirm(what: str, yes: bool) -> None:
    """Return when the person agrees to `what`, a whole sentence without its question mark.

    Raises:
        InvalidInput: they do not, or there is nobody to ask.
    """
    if yes or os.environ.get("CONFIRM", "") == "yes":
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{what}: this asks first; say CONFIRM=yes to go on without a terminal")
    if input(f"{what}. Go on? Type yes: ").strip().lower() != "yes":
        raise InvalidInput("nothing was done")

"""As whom do PostgreSQL and Redis run, and what can that account reach?

PostgreSQL refuses to run as root. Started by root, it runs as the unprivileged account that every
system has, and everything it touches must be reachable by it. No folder that exists is ever opened
up for this: where the way is barred, another place is taken.
"""

import os
import stat
from pathlib import Path

from shared.domain.errors import Misconfigured

NOBODY = 65_534
# Where root keeps what the unprivileged account must reach.
ROOT_PLACE = Path("/var/lib/full-ai-trader")


def server_account() -> int | None:
    """Return the account to change to before starting a server, or None to stay as we are."""
    return NOBODY if os.getuid() == 0 else None


def can_enter(folder: Path, account: int | None) -> bool:
    """Say whether `account` may pass through every folder down to `folder`, which may not exist yet."""
    if account is None:
        return True
    for step in (folder, *folder.parents):
        try:
            found = step.stat()
        except FileNotFoundError:
            continue
        bit = stat.S_IXUSR if found.st_uid == account else stat.S_IXOTH
        if not found.st_mode & bit:
            return False
    return True


def open_place() -> Path:
    """Return root's place for servers, made so that everybody may pass through it."""
    try:
        ROOT_PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"{ROOT_PLACE} cannot be made ({error.strerror}), and PostgreSQL may not run as root "
            "from a folder that is closed to others; start as an ordinary user"
        ) from error
    if not can_enter(ROOT_PLACE, NOBODY):
        raise Misconfigured(
            f"{ROOT_PLACE} is closed to others; open it with chmod 755 {ROOT_PLACE}"
        )
    return ROOT_PLACE

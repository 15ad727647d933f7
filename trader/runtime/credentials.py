"""Which settings are secret, and which password opens the database for which role?

One secret, DB_PASSWORD, is the root. Each role's password is derived from it and the role's name, so
that a process can be handed its own and learns nothing about the others', and nobody keeps a list.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from shared.domain.errors import Misconfigured
from shared.setting_values import strip_comment

# The cluster's superuser: creates roles and the database, then is not used again.
SUPERUSER = "postgres"
# Owns every schema and runs the migrations. No service logs in as it.
OWNER = "trading"
# One login role per service, and `operator` for the command line, which reads views only.
SERVICE_ROLES = ("data_collector", "strategy_engine", "risk_manager", "trade_executor", "scheduler")
OPERATOR = "operator"
# Reads every row and changes none: who writes backups logs in as it.
BACKUP = "backup"
LOGIN_ROLES = (OWNER, *SERVICE_ROLES, OPERATOR, BACKUP)

SECRET_BYTES = 32
# Made by the first start where `.env` leaves them out.
GENERATED = (
    "DB_PASSWORD",
    "REDIS_PASSWORD",
    "API_TOKEN_READ",
    "API_TOKEN_OPERATE",
    "API_TOKEN_KILL",
    "API_TOKEN_ADMIN",
)
SECRET_ENDINGS = ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET", "NOTIFY_URLS")


def is_secret(key: str) -> bool:
    """Say whether the setting `key` must be handed to its holders only."""
    return key.endswith(SECRET_ENDINGS) or key.startswith("API_TOKEN_")


def refuse_cut(settings: Mapping[str, str]) -> None:
    """Refuse a secret between our own programs of which a service would read only a part, and be refused everywhere.

    Raises:
        Misconfigured: names each.
    """
    cut = [
        key for key in GENERATED if strip_comment(settings.get(key, "")) != settings.get(key, "")
    ]
    if cut:
        raise Misconfigured(
            f"{', '.join(cut)} must not begin or end with a blank or hold ` #`, which begins a comment; choose "
            "another, or remove the line from .env, and make setup makes a good one"
        )


def password_of(role: str, db_password: str) -> str:
    """Derive the password of `role`: 64 hexadecimal digits, safe in any URL and any SQL literal."""
    return hmac.new(db_password.encode(), f"role:{role}".encode(), hashlib.sha256).hexdigest()


def new_secret() -> str:
    """Make a secret nobody can guess, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(SECRET_BYTES)

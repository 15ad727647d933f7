"""Which password opens the database for which role?

One secret, DB_PASSWORD, is the root. Each role's password is derived from it and the role's name, so
that a process can be handed its own and learns nothing about the others', and nobody keeps a list.
"""

import hashlib
import hmac
import secrets

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


def password_of(role: str, db_password: str) -> str:
    """Derive the password of `role`: 64 hexadecimal digits, safe in any URL and any SQL literal."""
    return hmac.new(db_password.encode(), f"role:{role}".encode(), hashlib.sha256).hexdigest()


def new_secret() -> str:
    """Make a secret nobody can guess, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(SECRET_BYTES)

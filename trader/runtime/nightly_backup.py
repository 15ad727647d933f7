"""Write the database into a new backup, as a role that may only read: `python -m trader.runtime.nightly_backup`.

The scheduler runs it at night, on a machine and in a container alike, with nothing but its own settings. The file is the
same as that of `trader backup`, and restored like it. Prints what was written as JSON, or one sentence and code 1.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, field

from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured, TradingError
from trader.runtime import backups
from trader.runtime.binaries import client_folder
from trader.runtime.clients import Client
from trader.runtime.credentials import BACKUP
from trader.runtime.instance import INHERITED, Instance
from trader.runtime.places import project_folder
from trader.runtime.ports import Ports


@dataclass(frozen=True, slots=True)
class OverTheNetwork:
    """See `backups.Source`: the database of the settings, reached as the role that may only read."""

    instance: Instance
    settings: Settings = field(repr=False)

    def postgres_client(self, tool: str, role: str, database: str, *, terminal: bool) -> Client:
        """See `backups.Source`."""
        del terminal
        password = self.settings.db_backup_password
        if password is None:
            raise Misconfigured(
                "missing setting DB_BACKUP_PASSWORD: start the scheduler with trader up, which derives it"
            )
        told = {
            "PGHOST": self.settings.db_host,
            "PGPORT": str(self.settings.db_port),
            "PGUSER": role,
            "PGPASSWORD": password.get_secret_value(),
            "PGDATABASE": database,
            "PGCONNECT_TIMEOUT": "10",
            "PGSSLMODE": "disable",
        }
        machine = {key: os.environ[key] for key in INHERITED if key in os.environ}
        return Client((str(client_folder() / tool),), {**machine, **told})


def main() -> int:
    """Write one backup."""
    # Given up it still removes its draft.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings = load_settings()
        folder = settings.backup_dir.resolve()
        told = {"RETENTION_BACKUPS": str(settings.retention_backups)}
        instance = Instance(project_folder(), folder.parent, Ports(), told)
        kept = backups.back_up_database(
            OverTheNetwork(instance, settings), lambda _: None, role=BACKUP
        )
        tables = backups.tables_in(kept)
    except TradingError as error:
        print(str(error), file=sys.stderr)
        return 1
    rows = sum(table.rows for table in tables.values())
    size = kept.stat().st_size
    print(json.dumps({"file": kept.name, "bytes": size, "tables": len(tables), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

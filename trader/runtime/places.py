"""Where does a stack keep its things?

One answer for the runtime, the command line and a backtest: the home, its settings file, the folder of history
and the file of a halt. Reads no file and makes no folder, and imports next to nothing: a halt waits for it.
"""

from collections.abc import Mapping
from pathlib import Path

from shared.storage import is_bucket


def project_folder() -> Path:
    """Return the work tree that this module belongs to."""
    return Path(__file__).resolve().parents[2]


def home_in(environment: Mapping[str, str]) -> Path:
    """Return the folder of this project's stack, whatever its settings say: TRADING_HOME, or the project's `data`."""
    return Path(environment.get("TRADING_HOME") or project_folder() / "data").resolve()


def settings_file_of(project: Path, home: Path) -> Path:
    """Where the settings of the stack in `home` stand: the project's own are in its work tree."""
    return (project if home == project / "data" else home) / ".env"


def history_folder(settings: Mapping[str, str], project: Path, home: Path) -> Path:
    """Where `settings` have market history kept on this machine; a relative DATA_DIR begins at the project."""
    stated = settings.get("DATA_DIR", "")
    return project / stated if stated and not is_bucket(stated) else home / "parquet"


def halt_file_in(home: Path) -> Path:
    """Return what `trader kill` writes; while it exists no executor of a stack in `home` sends anything."""
    return home / "control" / "halt"

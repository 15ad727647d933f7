"""Which secrets does a stack need that a person should not have to invent?

The first start writes them into the settings file. A value that stands there is never replaced,
whatever it is; a missing or empty one is filled in. The file is readable by its owner alone.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from shared.domain.errors import Misconfigured
from trader.runtime.credentials import GENERATED, new_secret
from trader.runtime.places import project_folder, settings_file_of

OWNER_ONLY = 0o600


def read_settings(file: Path) -> dict[str, str]:
    """Read a settings file: the one reading of `.env` for services, Make and the command line.

    Comments may follow a value after a space. A key without a value counts as not set. Of a secret that
    is ours `${NAME}` is a part like any other; elsewhere that variable's value takes its place.
    """
    if not file.exists():
        return {}
    try:
        with file.open(encoding="utf-8") as text:
            broken = next((line for line in parse_stream(text) if line.error), None)
        # Passed over, a limit whose "=" is missing would leave the default in force.
        if broken is not None:
            raise Misconfigured(f"{file}, line {broken.original.line}: write it as NAME=value")
        values = dotenv_values(file, encoding="utf-8")
        written = dotenv_values(file, encoding="utf-8", interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}; mend or remove it") from error
    found = {key: written[key] if key in GENERATED else value for key, value in values.items()}
    return {key: value for key, value in found.items() if value}


def ensure_secrets(file: Path, template: Path | None = None) -> dict[str, str]:
    """Make `file` hold every generated secret and return all of its settings.

    Args:
        file: the settings file; created from `template` where there is none.
        template: what a person may want to set, with the secrets left empty.
    """
    with _one_at_a_time(file.parent):
        found = read_settings(file)
        missing = [key for key in GENERATED if key not in found]
        if missing:
            source = file if file.exists() else template
            text = source.read_text(encoding="utf-8") if source is not None else ""
            _write_owner_only(file, filled(text, {key: new_secret() for key in missing}))
        elif stat.S_IMODE(file.stat().st_mode) & ~OWNER_ONLY:
            file.chmod(OWNER_ONLY)
        return read_settings(file)


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put `values` where `text` leaves their keys empty, and the rest at its end."""
    rest = dict(values)
    lines = text.splitlines()
    for number, line in enumerate(lines):
        empty = re.fullmatch(r"\s*(?P<key>[A-Z0-9_]+)\s*=\s*(?P<comment>#.*)?", line)
        if empty and empty["key"] in rest:
            comment = f"  {empty['comment']}" if empty["comment"] else ""
            lines[number] = f"{empty['key']}={rest.pop(empty['key'])}{comment}"
    if rest:
        lines += ["", "# Made by the first start; never replaced once they stand here."]
        lines += [f"{key}={value}" for key, value in rest.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def append_setting(file: Path, key: str, value: str) -> None:
    """Put `key` at the end of a settings file that has none."""
    with _one_at_a_time(file.parent):
        text = file.read_text(encoding="utf-8")
        _write_owner_only(file, f"{text.rstrip()}\n{key}={value}\n")


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # Two first starts at once would each make secrets, and one would run with those that lost.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_owner_only(file: Path, text: str) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        draft.replace(file)
    except OSError as error:
        raise Misconfigured(f"{file} cannot be written: {error.strerror}") from error


def main() -> None:
    """Make the project's settings file and say what is left to do; for `make setup`."""
    project = project_folder()
    file = settings_file_of(project, project / "data")
    ensure_secrets(file, template=project / ".env.example")
    print(
        f"{file} is ready, readable by you alone. Put your Alpaca keys into it, then: make start\n"
        "To see the system at work without any key: make demo"
    )


if __name__ == "__main__":
    main()

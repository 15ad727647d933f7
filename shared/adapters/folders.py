"""Which adapter opens the place that a setting names?"""

from __future__ import annotations

from pathlib import Path

from shared.adapters.durable_files import LocalFolder
from shared.ports import Folder
from shared.storage import Place


def open_folder(place: Place) -> Folder:
    """The folder at `place`; nothing is made, and nobody is asked yet."""
    if isinstance(place, Path):
        return LocalFolder(place)
    # Imported here: who keeps history on disk needs no HTTP client for it.
    from shared.adapters.object_storage import BucketFolder

    return BucketFolder(place)

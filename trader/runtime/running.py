"""What was a program told that runs now?

The running stack may be a demo, which trades under another account and at another venue than the settings say. What each
program was told lies in its sheet, as long as the process that was started from it lives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from trader.runtime.instance import Instance
from trader.runtime.orphans import identity_in
from trader.runtime.programs import sheet_of


def told_to(instance: Instance, program: str) -> Mapping[str, str]:
    """The environment of `program` as it runs on this machine; empty when it does not, or cannot be read."""
    identity = identity_in(instance.run / "records" / f"{program}.json")
    if identity is None or not identity.lives:
        return {}
    return last_told_to(instance, program)


def last_told_to(instance: Instance, program: str) -> Mapping[str, str]:
    """The environment `program` was started with last, whether or not it lives; empty once all was stopped in order."""
    try:
        environment = json.loads(sheet_of(instance, program).read_bytes())["environment"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if not isinstance(environment, dict):
        return {}
    return {str(name): str(value) for name, value in environment.items()}

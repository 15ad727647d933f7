"""Where does market history lie: in a folder of this machine, or in a bucket?

A place is a path, or a `Bucket`: an S3 address with what is needed to open it. Both are extended with `/`. Nothing here
connects to anything; `shared.adapters.folders` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

SCHEME = "s3://"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What needs no escape in an address, a signature or on a screen.
_PREFIX = re.compile(r"[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")


@dataclass(frozen=True, slots=True)
class Access:
    """How a bucket is reached: any store that speaks S3. The keys are never printed."""

    key_id: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    # None: Amazon's own of that region.
    endpoint_url: str | None = None

    @property
    def endpoint(self) -> str:
        """The address that requests go to."""
        return self.endpoint_url or f"https://s3.{self.region}.amazonaws.com"


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """`s3://name/prefix`, as it is written in a setting."""

    name: str
    prefix: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix in a bucket, with its keys; `locks` is the folder in which this machine's writers take turns."""

    address: BucketAddress
    access: Access
    locks: Path

    def __truediv__(self, name: str) -> Bucket:
        prefix = f"{self.address.prefix}/{name}" if self.address.prefix else name
        return replace(self, address=BucketAddress(self.address.name, prefix))

    def __str__(self) -> str:
        return str(self.address)


# What holds the history; `/ account` is one account's.
Place = Path | Bucket


def is_bucket(text: str) -> bool:
    """Whether a setting names no folder."""
    return "://" in text


def parse_address(text: str) -> Path | BucketAddress:
    """The folder or bucket that `text` names.

    Raises:
        ValueError: an address of another kind, or no possible name.
    """
    if not is_bucket(text):
        return Path(text)
    name, _, prefix = text.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    if (
        not text.startswith(SCHEME)
        or not _NAME.fullmatch(name)
        or (prefix and not _PREFIX.fullmatch(prefix))
        or ".." in prefix
    ):
        raise ValueError("write a folder, or a bucket like s3://my-bucket/history")
    return BucketAddress(name, prefix)

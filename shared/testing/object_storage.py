"""Object storage on this machine, for tests: moto's server, which speaks S3, on a free port of loopback."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from shared.storage import Access, Bucket, BucketAddress

_numbers = itertools.count(1)


@contextmanager
def object_storage() -> Iterator[Access]:
    """A server of its own, up until the end of the block."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Access("test-key", "test-secret", endpoint_url=f"http://{host}:{port}")
    finally:
        server.stop()


def new_bucket(access: Access, locks: Path) -> Bucket:
    """An empty bucket there, with a prefix, as a machine sees it whose locks are in `locks`."""
    name = f"history-{next(_numbers)}"
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint,
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret_key,
        region_name=access.region,
    )
    client.create_bucket(Bucket=name)
    return Bucket(BucketAddress(name, "market/paper"), access, locks)

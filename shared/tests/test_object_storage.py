"""Tests of history in a bucket, against a server that speaks S3."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from shared.adapters.action_store import ParquetActions
from shared.adapters.durable_files import LocalFolder
from shared.adapters.folders import open_folder
from shared.adapters.object_storage import BucketFolder, sign, url_of
from shared.adapters.parquet import ParquetBars
from shared.domain.errors import Misconfigured, StateMismatch, Unavailable
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Access, Bucket, BucketAddress, parse_address
from shared.testing.bar_stores import (
    NOON,
    ActionStoreContract,
    BarStoreContract,
    a_bar,
    a_block,
)
from shared.testing.folders import FolderContract
from shared.testing.object_storage import new_bucket, object_storage

SYMBOLS = [parse_symbol(name) for name in ("AAPL", "BRK.B", "MSFT")]


@pytest.fixture(scope="module")
def access() -> Iterator[Access]:
    with object_storage() as access:
        yield access


@pytest.fixture
def bucket(access: Access, tmp_path: Path) -> Bucket:
    return new_bucket(access, tmp_path / "locks")


class TestLocalFolder(FolderContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> LocalFolder:
        return LocalFolder(tmp_path / "bars")


class TestBucketFolder(FolderContract):
    @pytest.fixture
    def folder(self, bucket: Bucket) -> BucketFolder:
        return BucketFolder(bucket)


class TestBarsInABucket(BarStoreContract):
    @pytest.fixture
    def store(self, bucket: Bucket) -> ParquetBars:
        return ParquetBars(bucket)


class TestActionsInABucket(ActionStoreContract):
    @pytest.fixture
    def actions(self, bucket: Bucket) -> ParquetActions:
        return ParquetActions(bucket)


def append_minute(store: ParquetBars, minute: int) -> None:
    block = a_block(*(a_bar(symbol, minute) for symbol in SYMBOLS))
    store.append(block, provider="p", fetched_at=NOON)


def minutes_in(store: ParquetBars) -> list[int]:
    """The minutes that are there, each of all symbols or the test fails."""
    block = store.between(Timeframe.MINUTE, SYMBOLS, NOON, NOON.replace(day=18))
    seen = [
        [(bar.start_at - NOON).seconds // 60 for bar in block if bar.symbol == symbol]
        for symbol in SYMBOLS
    ]
    assert seen[0] == seen[1] == seen[2]
    return seen[0]


def test_compacting_and_forgetting_in_a_bucket_lose_nothing_else(bucket: Bucket) -> None:
    store = ParquetBars(bucket)
    for minute in range(20):
        append_minute(store, minute)

    assert store.compact(Timeframe.MINUTE) == (5, 1)
    assert minutes_in(store) == list(range(20))

    append_minute(store, 20)
    assert store.forget(Timeframe.MINUTE, a_bar(minute=20).start_at) == 0
    append_minute(store, 30)
    assert store.forget(Timeframe.MINUTE, a_bar(minute=30).start_at) == 63
    assert minutes_in(store) == [30]
    assert [each.bars for each in store.contents(Timeframe.MINUTE)] == [1, 1, 1]


def test_readers_see_whole_appends_in_order_while_a_writer_merges(bucket: Bucket) -> None:
    writer, reader = ParquetBars(bucket), ParquetBars(bucket)
    done = threading.Event()
    failures: list[object] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen = minutes_in(reader)
            except (AssertionError, StateMismatch) as error:
                failures.append(error)
                return
            if seen != list(range(len(seen))):
                failures.append(seen)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for minute in range(34):
            append_minute(writer, minute)
    finally:
        done.set()
        thread.join()

    assert failures == []
    assert minutes_in(reader) == list(range(34))


_WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from shared.adapters.parquet import ParquetBars
from shared.storage import Access, Bucket, BucketAddress
from shared.testing.bar_stores import NOON, a_bar, a_block

endpoint, name, prefix, locks, begin = sys.argv[1:]
access = Access("test-key", "test-secret", endpoint_url=endpoint)
store = ParquetBars(Bucket(BucketAddress(name, prefix), access, Path(locks)))
for minute in itertools.count(int(begin)):
    block = a_block(*(a_bar(symbol, minute) for symbol in ("AAPL", "BRK.B", "MSFT")))
    store.append(block, provider="p", fetched_at=NOON)
    print(minute, flush=True)
"""


def test_a_writer_killed_between_puts_loses_no_append_it_had_confirmed(bucket: Bucket) -> None:
    begin = 0
    # The second is killed about when the first sixteen are merged and the small ones removed.
    for lines in (5, 11, 16):
        writer = subprocess.Popen(  # our own interpreter
            [
                *(sys.executable, "-c", _WRITE_FOR_EVER, bucket.access.endpoint),
                *(bucket.address.name, bucket.address.prefix, str(bucket.locks), str(begin)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        for _ in itertools.islice(writer.stdout, lines):
            pass
        os.kill(writer.pid, signal.SIGKILL)
        confirmed = begin + lines + len(writer.stdout.read().splitlines())
        writer.wait()
        writer.stdout.close()

        stored = minutes_in(ParquetBars(bucket))

        assert confirmed <= len(stored) <= confirmed + 1
        assert stored == list(range(len(stored)))
        begin = len(stored)
    append_minute(ParquetBars(bucket), begin)
    assert len(minutes_in(ParquetBars(bucket))) == begin + 1


@pytest.mark.prove
def test_more_files_than_one_page_of_a_listing_are_all_listed(bucket: Bucket) -> None:
    folder = open_folder(bucket)
    names = [f"{number:04d}" for number in range(1_003)]
    for name in names:
        folder.put(name, b"")

    assert sorted(folder.names()) == names


def test_another_machine_is_refused_and_takes_over_only_when_a_person_removes_the_mark(
    bucket: Bucket, tmp_path: Path
) -> None:
    append_minute(ParquetBars(bucket), 0)
    other = ParquetBars(replace(bucket, locks=tmp_path / "locks-of-another"))

    with pytest.raises(StateMismatch, match=r"written by another machine .* remove the object"):
        append_minute(other, 1)
    assert minutes_in(other) == [0]

    open_folder(bucket / "bars" / "1Min").remove("writer")
    append_minute(other, 1)
    with pytest.raises(StateMismatch, match="another machine"):
        append_minute(ParquetBars(bucket), 2)
    assert minutes_in(other) == [0, 1]


def test_a_bar_file_that_is_garbage_is_told_and_not_taken_for_none(bucket: Bucket) -> None:
    store = ParquetBars(bucket)
    append_minute(store, 0)
    folder = open_folder(bucket / "bars" / "1Min")
    folder.put(folder.names()[0], b"not parquet")

    with pytest.raises(StateMismatch, match=r"s3://.* cannot be read"):
        minutes_in(store)


def test_a_bucket_that_is_not_there_is_a_setting_to_mend(bucket: Bucket) -> None:
    missing = replace(bucket, address=BucketAddress("no-such-bucket", "market"))

    with pytest.raises(Misconfigured, match=r"NoSuchBucket.*mend DATA_DIR"):
        append_minute(ParquetBars(missing), 0)


def test_a_store_that_does_not_answer_is_unavailable_and_never_empty(
    bucket: Bucket, unused_endpoint: str
) -> None:
    away = replace(bucket, access=replace(bucket.access, endpoint_url=unused_endpoint))

    with pytest.raises(Unavailable, match="is the store up"):
        minutes_in(ParquetBars(away))


@pytest.fixture
def unused_endpoint() -> str:
    with object_storage() as access:
        return access.endpoint


def test_keys_stand_in_no_text_that_could_be_logged(bucket: Bucket) -> None:
    place = replace(bucket, access=replace(bucket.access, session_token="test-token"))

    shown = f"{place} {place!r} {BucketFolder(place)} {place.access}"

    assert "test-secret" not in shown
    assert "test-token" not in shown


@pytest.mark.parametrize("token", [None, "token"])
def test_requests_are_signed_as_amazons_own_client_signs_them(token: str | None) -> None:
    at = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)
    access = Access("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token, "eu-west-1")
    path, query = "/my-bucket/a=b/c_1.parquet", {"prefix": "a=b/", "list-type": "2"}
    theirs = AWSRequest(
        "PUT", url_of(access, path, query), headers={"if-none-match": "*"}, data=b"bars"
    )
    theirs.context["timestamp"] = f"{at:%Y%m%dT%H%M%SZ}"
    witness = S3SigV4Auth(Credentials(access.key_id, access.secret_key, token), "s3", access.region)
    theirs.headers["x-amz-content-sha256"] = witness.payload(theirs)
    theirs.headers["x-amz-date"] = theirs.context["timestamp"]
    if token is not None:
        theirs.headers["x-amz-security-token"] = token
    expected = witness.signature(
        witness.string_to_sign(theirs, witness.canonical_request(theirs)), theirs
    )

    signed = sign(access, "PUT", path, query, b"bars", at, {"if-none-match": "*"})

    assert signed["authorization"].endswith(f"Signature={expected}")


@pytest.mark.parametrize(
    "text", ["gs://bucket", "file:///data", "s3://", "s3://Bad_Name/x", "s3://bucket/a/../b"]
)
def test_an_address_that_is_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="s3://my-bucket/history"):
        parse_address(text)


def test_a_path_is_a_folder_and_an_s3_address_a_bucket() -> None:
    assert parse_address("data/parquet") == Path("data/parquet")
    assert parse_address("s3://my-bucket/a/b/") == BucketAddress("my-bucket", "a/b")
    assert str(parse_address("s3://my-bucket")) == "s3://my-bucket"

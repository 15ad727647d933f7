"""How is history kept in a bucket of any store that speaks S3?

One PUT makes a file, whole or not at all; a listing shows it as soon as the PUT was answered. There are no renames and no
locks that fall when their holder dies, so the writers of one machine take turns under a lock on its own disk, and
which machine may write stands in the bucket itself: the first one leaves its name there, by a PUT that succeeds only
where nothing is yet, and every other is refused with the mend. That fails closed: a machine that is lost must be
replaced by hand.

Requests are signed with keys from the settings (AWS Signature Version 4), have bounded times and sizes, and are
repeated when that can do no harm. Tables are read by Polars itself, range by range.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

import httpx

from shared.adapters.clocks import RandomIds, WallClock
from shared.adapters.durable_files import sole_writer, write_whole
from shared.domain.errors import Misconfigured, StateMismatch, Unavailable
from shared.storage import Access, Bucket

# The machine that may write; beside the files, and never one of them.
_WRITER = "writer"
_CONNECT_S, _READ_S = 5.0, 60.0
_PAUSES_S = (0.2, 0.8, 2.0)
_PASSING = frozenset({429, 500, 502, 503, 504})
_EMPTY = hashlib.sha256(b"").hexdigest()
# Clients are kept, since a connection costs more than a request; one per endpoint and key.
_clients: dict[Access, httpx.Client] = {}
_guard = threading.Lock()


class BucketFolder:
    """A `Folder` under a prefix of a bucket."""

    def __init__(self, place: Bucket) -> None:
        self._place = place
        self._access = place.access
        self._client = _client(place.access)

    def __str__(self) -> str:
        return str(self._place)

    def names(self) -> list[str]:
        """See `Folder`."""
        return [name for name in self._listed()[0] if name != _WRITER]

    def folders(self) -> list[str]:
        """See `Folder`."""
        return sorted(self._listed()[1])

    def inside(self, name: str) -> BucketFolder:
        """See `Folder`."""
        return BucketFolder(self._place / name)

    def put(self, name: str, content: bytes | memoryview) -> None:
        """See `Folder`."""
        self._ask("PUT", name, content=bytes(content))

    def get(self, name: str) -> bytes:
        """See `Folder`."""
        return self._ask("GET", name).content

    def remove(self, name: str) -> None:
        """See `Folder`."""
        self._ask("DELETE", name)

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """See `Folder`.

        Raises:
            StateMismatch: another machine writes here.
        """
        locks = self._place.locks
        mark = hashlib.sha256(f"{self._access.endpoint} {self}".encode()).hexdigest()[:16]
        with sole_writer(locks / mark):
            me = _name_of_this_machine(locks)
            owner = self._owner()
            if owner is None:
                self._ask(
                    "PUT",
                    _WRITER,
                    content=me.encode(),
                    headers={"if-none-match": "*"},
                    allow=(412,),
                )
                # Asked again: a store that ignores the condition would have let two of us in.
                owner = self._owner()
            if owner != me:
                raise StateMismatch(
                    f"{self} is written by another machine ({owner}, this one is {me}); write there, or when it "
                    f"is gone for good remove the object {_WRITER!r} from {self}"
                )
            yield

    def address(self, name: str) -> str:
        """See `Folder`."""
        return str(self._place / name)

    @property
    def options(self) -> Mapping[str, str]:
        """See `Folder`."""
        access = self._access
        told = {
            "aws_access_key_id": access.key_id,
            "aws_secret_access_key": access.secret_key,
            "aws_region": access.region,
            "aws_endpoint_url": access.endpoint,
        }
        if access.session_token is not None:
            told["aws_session_token"] = access.session_token
        if access.endpoint.startswith("http://"):
            told["aws_allow_http"] = "true"
        return told

    def _owner(self) -> str | None:
        try:
            return self.get(_WRITER).decode(errors="replace")[:100]
        except FileNotFoundError:
            return None

    def _listed(self) -> tuple[list[str], list[str]]:
        """The names of files and of folders right below."""
        prefix = self._place.address.prefix
        prefix = f"{prefix}/" if prefix else ""
        files: list[str] = []
        folders: list[str] = []
        more: str | None = ""
        while more is not None:
            query = {"delimiter": "/", "list-type": "2", "prefix": prefix}
            if more:
                query["continuation-token"] = more
            answer = self._ask("GET", None, query=query)
            try:
                page = ET.fromstring(answer.content)  # noqa: S314  expat itself bounds entities
            except ET.ParseError:
                raise Unavailable(f"{self}: the store's listing is no XML; try again") from None
            files += [_text(each, "Key")[len(prefix) :] for each in _all(page, "Contents")]
            folders += [
                _text(each, "Prefix")[len(prefix) :].rstrip("/")
                for each in _all(page, "CommonPrefixes")
            ]
            more = _text(page, "NextContinuationToken") or None
        return [name for name in files if name], folders

    def _ask(
        self,
        method: str,
        name: str | None,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        allow: tuple[int, ...] = (),
    ) -> httpx.Response:
        """One answered request about a file here, or about the bucket; repeated, since each may be.

        Raises:
            FileNotFoundError: there is no such file.
        """
        address = self._place.address
        path = f"/{address.name}"
        if name is not None:
            path += f"/{(self._place / name).address.prefix}"
        why = ""
        for pause_s in (*_PAUSES_S, None):
            signed = sign(
                self._access, method, path, query or {}, content, WallClock().now(), headers or {}
            )
            try:
                answer = self._client.request(
                    method, url_of(self._access, path, query or {}), content=content, headers=signed
                )
            except httpx.HTTPError as error:
                why = f"no answer ({type(error).__name__})"
            else:
                if answer.is_success or answer.status_code in allow:
                    return answer
                code = _code_of(answer)
                if answer.status_code == 404 and code != "NoSuchBucket" and name is not None:
                    if method == "DELETE":
                        return answer
                    raise FileNotFoundError(f"{self} has no {name}")
                why = f"HTTP {answer.status_code} {code}".strip()
                if answer.status_code not in _PASSING:
                    raise Misconfigured(
                        f"{self}: the store refuses the request ({why}); mend DATA_DIR, AWS_REGION, "
                        "AWS_ENDPOINT_URL or the AWS_ keys"
                    )
            if pause_s is not None:
                # This thread alone waits; the store is called in threads.
                threading.Event().wait(pause_s)
        raise Unavailable(f"{self}: {why}; is the store up, and AWS_ENDPOINT_URL right?")


def sign(
    access: Access,
    method: str,
    path: str,
    query: Mapping[str, str],
    content: bytes,
    at: datetime,
    headers: Mapping[str, str],
) -> dict[str, str]:
    """The headers of a request, signed.

    Source:
        AWS Signature Version 4 for Amazon S3, a single chunk with a signed payload.
    """
    stamp = f"{at:%Y%m%dT%H%M%SZ}"
    digest = hashlib.sha256(content).hexdigest() if content else _EMPTY
    told = {
        **headers,
        "host": urlsplit(access.endpoint).netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    if access.session_token is not None:
        told["x-amz-security-token"] = access.session_token
    names = sorted(told)
    listed = ";".join(names)
    canonical = "\n".join(
        [
            method,
            quote(path),
            _query(query),
            *(f"{name}:{told[name].strip()}" for name in names),
            "",
            listed,
            digest,
        ]
    )
    scope = f"{at:%Y%m%d}/{access.region}/s3/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{access.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    told["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access.key_id}/{scope}, SignedHeaders={listed}, "
        f"Signature={key.hex()}"
    )
    return told


def url_of(access: Access, path: str, query: Mapping[str, str]) -> str:
    """The address of a request, escaped as it is signed."""
    written = _query(query)
    return f"{access.endpoint}{quote(path)}" + (f"?{written}" if written else "")


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(n, safe='')}={quote(query[n], safe='')}" for n in sorted(query))


def _client(access: Access) -> httpx.Client:
    with _guard:
        if access not in _clients:
            _clients[access] = httpx.Client(
                timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
                follow_redirects=False,
                verify=ssl.create_default_context(),
                trust_env=urlsplit(access.endpoint).hostname not in ("127.0.0.1", "localhost"),
            )
        return _clients[access]


def _name_of_this_machine(locks: Path) -> str:
    """What this machine's writers go by: made once, and kept beside their locks."""
    kept = locks / "writer-id"
    with sole_writer(locks):
        if not kept.exists():
            write_whole(kept, RandomIds().new().encode())
        return kept.read_text()


def _code_of(answer: httpx.Response) -> str:
    """The store's word for what is wrong; never its whole text, which may repeat the request."""
    try:
        return _text(ET.fromstring(answer.content), "Code")[:60]  # noqa: S314  see above
    except ET.ParseError:
        return ""


def _all(page: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in page if each.tag.rpartition("}")[2] == name]


def _text(element: ET.Element, name: str) -> str:
    return next((each.text or "" for each in _all(element, name)), "")

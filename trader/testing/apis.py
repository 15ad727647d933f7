"""What does every HTTP API keep to, whatever it is asked?

A test class inherits `ApiContract` and gives an `api` fixture: a service's own app on real servers, reached in process. What
is asked is made from the app's own OpenAPI description, by schemathesis as the description has it (and as it has it not), and
by hand with values that no description rules out and that break programs. A refused request must leave no row behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import zlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.adapters.http_api import MAX_BODY_BYTES, Problem, Role
from trader.runtime.instance import Instance

if TYPE_CHECKING:
    from schemathesis.core.result import Ok
    from schemathesis.schemas import APIOperation

TOKENS = {f"API_TOKEN_{role.name}": f"{role.name.lower()}-token-0" for role in Role}
HOST = "127.0.0.1"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# More is no sentence.
LONGEST_DETAIL = 1_001
_PATIENCE_S = 60.0
# How many requests are made of each operation, by each way of making them.
SAMPLE, LONG = 2, 500
AMOUNTS = [
    pytest.param(SAMPLE, id="sample"),
    pytest.param(LONG, id="long", marks=pytest.mark.prove),
]

# As they stand in a body of JSON.
ABSURD = (
    *("null", "true", "[]", "{}", '""', '" "', "0", "-0", "-0.0", "-1", "0.1", "1e-400", "1e400", "NaN"),
    *("Infinity", "-Infinity", f"1{'0' * 30}", "9" * 5_000, f"0.{'3' * 400}", str(2**31), str(2**63)),
    *('"NaN"', '"sNaN"', '"Infinity"', '"-0"', '"1e400"', '"1e-400"', '"1_0"', '"0x10"', f'"1{"0" * 30}"'),
    *('"\\u0000"', '"A\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u202e"', '"\\u0661"', '"\\n"', '"\\u001b[2J"'),
    *('"0001-01-01"', '"9999-12-31"', '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"'),
    *('"2026-02-30"', '"\'; DROP TABLE x; --"', '"../../etc/passwd"', '"{}"', f'"{"A" * 10_000}"', f'"{"9" * 5_000}"'),
    f"{'[' * 5_000}{']' * 5_000}",
    '{"a":' * 5_000 + "1" + "}" * 5_000,
)  # fmt: skip
# Not JSON at all, or not an object.
ABSURD_BODIES = (
    *(b"", b" ", b"{", b"\xff\xfe", b'"\xed\xa0\x80"', b"null", b"[]", b"1", b'{"a": 1, "a": 2}', b"\x00", b"NaN"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, "{}".encode("utf-16"), b"a=1&b=2"),
)  # fmt: skip
# As they stand in an address, where every other character is escaped.
ABSURD_WORDS = (
    *("", "0", "-0", "-1", "1e400", "NaN", "Infinity", "1.5", "9" * 400, "9" * 5_000, str(2**31), str(2**63)),
    *(str(2**64), f"1{'0' * 30}", "%00", "A%00", "%ff", "%ED%A0%80", "%0A", "%1B[2J", "%C2%85", "%E2%80%AE"),
    *("0001-01-01", "9999-12-31", "2026-02-30", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"),
    *("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "true", "null", "%27;DROP TABLE x;--", "..%2F..%2Fetc", "%D9%A1"),
    *("A" * 200, "A" * 5_000, "%F0%9F%92%A9", "{}", "%7B", "*", "%25", "+"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Served:
    """An app, and what a request of it may name so that it is about something.

    Attributes:
        words: by the name of a parameter, values of it that are known to the app.
        bodies: by operation (`POST /orders`), a body that it takes.
        stored: the rows there are, by table.
        waiting: operations that may answer 503, because who does what they ask for is not at work here.
    """

    app: ASGIApp
    stored: Callable[[], Awaitable[Mapping[str, int]]]
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bodies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    waiting: AbstractSet[str] = frozenset()


@contextlib.asynccontextmanager
async def counted_rows(
    instance: Instance,
) -> AsyncIterator[Callable[[], Awaitable[Mapping[str, int]]]]:
    """Count the rows of every table of ours, as the role that may read all of them."""
    url = instance.database_url("backup").replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        tables = [
            row[0]
            for row in await connection.fetch(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            )
        ]
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)

        async def count() -> Mapping[str, int]:
            return dict(zip(tables, await connection.fetchrow(f"SELECT {counts}"), strict=True))

        yield count
    finally:
        await connection.close()


class Api:
    """An app that lives on the event loop of a thread of its own, and is asked from any other."""

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self._served = served
        self._loop = loop

    def ask(
        self, method: str, path: str, role: Role | None = Role.ADMIN, **more: Any
    ) -> httpx.Response:
        """The answer to one request; `path` is taken as it is, escapes and all."""
        headers = {} if role is None else bearer(role)

        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._served.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as http:
                return await http.request(
                    method, path, headers={**headers, **more.pop("headers", {})}, **more
                )

        answer: httpx.Response = self._wait(asked())
        return answer

    def stored(self) -> Mapping[str, int]:
        """Every table's rows."""
        rows: Mapping[str, int] = self._wait(self._counted())
        return rows

    async def _counted(self) -> Mapping[str, int]:
        return await self._served.stored()

    def _wait(self, wanted: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(wanted, self._loop).result(_PATIENCE_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app for whoever lives on another event loop, as schemathesis does."""
        if scope["type"] != "http":
            raise RuntimeError("only requests are passed on")
        heard = [message := await receive()]
        while message.get("more_body", False):
            heard.append(message := await receive())

        async def on_its_loop() -> list[Message]:
            said: list[Message] = []
            waiting = iter(heard)

            async def next_heard() -> Message:
                return next(waiting, {"type": "http.disconnect"})

            async def note(message: Message) -> None:
                said.append(message)

            with contextlib.suppress(Exception):  # answered with 500 before, which is what counts
                await self._served.app(scope, next_heard, note)
            return said

        said: Future[list[Message]] = asyncio.run_coroutine_threadsafe(on_its_loop(), self._loop)
        for message in await asyncio.wrap_future(said):
            await send(message)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The app's description of itself."""
        described: dict[str, Any] = self.ask("GET", "/openapi.json").json()
        return described

    @cached_property
    def operations(self) -> dict[str, dict[str, Any]]:
        """What is described, by `GET /orders/{order_id}`."""
        return {
            f"{method.upper()} {path}": described
            for path, methods in self.document["paths"].items()
            for method, described in methods.items()
        }

    def words_of(self, parameter: str) -> Sequence[str]:
        """Values of that parameter which name something."""
        return self._served.words.get(parameter, ("AAPL",))

    def body_of(self, operation: str) -> dict[str, Any]:
        """A body that the operation takes."""
        return dict(self._served.bodies.get(operation, {"reason": "a drill of the API"}))

    def path_of(self, operation: str, **words: str) -> str:
        """The operation's address, with `words` in their places and known ones in the others."""
        path = operation.split(" ")[1]
        for parameter in self.operations[operation].get("parameters", ()):
            if parameter["in"] == "path":
                name = parameter["name"]
                word = words.get(name, quote(self.words_of(name)[0], safe=""))
                path = path.replace(f"{{{name}}}", word)
        return path

    def judge(self, answer: httpx.Response | Any, operation: str | None, asked: str) -> None:
        """Whether an answer is one that the description promises, in the form of all errors where it is one."""
        status = answer.status_code
        content = answer.content
        is_busy = status == 503 and operation in self._served.waiting
        assert status < 500 or is_busy, f"{asked}: answered {status}: {content[:500]!r}"
        if operation is not None:
            described = self.operations[operation]["responses"]
            assert str(status) in described, (
                f"{asked}: {status} is not described, but {[*described]}"
            )
        if status >= 400:
            kinds = answer.headers["content-type"]
            kind = kinds if isinstance(kinds, str) else kinds[0]
            assert kind == "application/problem+json", f"{asked}: an error of type {kind}"
            problem = Problem.model_validate_json(content)
            assert problem.status == status, asked
            detail = problem.detail
            assert 0 < len(detail) <= LONGEST_DETAIL, (
                f"{asked}: {len(detail)} characters: {detail[:300]!r}"
            )
            assert detail.isprintable(), f"{asked}: not one line for people: {detail[:300]!r}"


def bearer(role: Role) -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Bearer {role.name.lower()}-token-0"}


@contextlib.contextmanager
def living(opened: AbstractAsyncContextManager[Served]) -> Iterator[Api]:
    """Open an app on an event loop of its own, and close it there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the API under test")
    thread.start()
    is_open, may_close = Future[Served](), asyncio.Event()

    async def live() -> None:
        # In one task from begin to end, as task groups and timeouts want it.
        try:
            async with opened as served:
                is_open.set_result(served)
                await may_close.wait()
        except BaseException as error:
            if is_open.done():
                raise
            is_open.set_exception(error)

    life = asyncio.run_coroutine_threadsafe(live(), loop)
    try:
        yield Api(is_open.result(_PATIENCE_S), loop)
    finally:
        loop.call_soon_threadsafe(may_close.set)
        try:
            life.result(_PATIENCE_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _tried(count: int, *names: str) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Try that many examples: others for every name, and where they are few the same each time."""

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        bounded: Callable[[], None] = settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(test)
        return seed(zlib.crc32(repr(names).encode()))(bounded) if count == SAMPLE else bounded

    return decorate


# What lives beside the test draws numbers too; Hypothesis takes that for the test's own doing.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
class ApiContract:
    """What every API does; a test class inherits it and gives an `api` fixture (for the class, since it is dear)."""

    @pytest.mark.parametrize("count", AMOUNTS)
    def test_what_is_asked_by_the_description_is_answered_by_it(
        self, api: Api, count: int, subtests: pytest.Subtests
    ) -> None:
        for operation in _described(api):
            for good in (True, False) if _can_be_wrong(api, operation.label) else (True,):
                with subtests.test(operation.label, good=good):
                    _try_description(api, operation, count, good=good)

    @pytest.mark.parametrize("count", AMOUNTS)
    def test_no_value_breaks_it_and_what_it_refuses_changes_nothing(
        self, api: Api, count: int, subtests: pytest.Subtests
    ) -> None:
        for operation, described in api.operations.items():
            for place in _places(api, operation, described):
                with subtests.test(operation, part=place.part, names=place.names):
                    _try_values(api, operation, place, count)

    def test_only_liveness_answers_whoever_has_no_token(self, api: Api) -> None:
        before = api.stored()
        for operation in api.operations:
            method, path = operation.split(" ")[0], api.path_of(operation)
            expected = 200 if operation == "GET /health" else 401
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}):
                answer = api.ask(method, path, None, headers=headers, json=api.body_of(operation))
                # Who guesses for long is told to stop.
                assert answer.status_code in (
                    expected,
                    429 if expected == 401 and headers else expected,
                )
                api.judge(answer, operation, operation)
        assert api.stored() == before

    def test_a_method_that_is_not_described_is_refused(self, api: Api) -> None:
        before = api.stored()
        for path, described in api.document["paths"].items():
            named = next(iter(described)).upper()
            for method in set(METHODS) - {name.upper() for name in described}:
                answer = api.ask(method, api.path_of(f"{named} {path}"))
                assert answer.status_code == 405, (method, path)
                api.judge(answer, None, f"{method} {path}")
        assert api.stored() == before

    def test_a_body_over_the_limit_is_refused_wherever_one_may_be_sent(self, api: Api) -> None:
        before, large = api.stored(), b'{"reason": "' + b"x" * MAX_BODY_BYTES + b'"}'
        for operation in api.operations:
            method, path = operation.split(" ")[0], api.path_of(operation)
            answer = api.ask(method, path, content=large)
            assert answer.status_code == 413, operation
            api.judge(answer, operation, operation)
        assert api.stored() == before


def _described(api: Api) -> Iterator[APIOperation[Any, Any, Any, Any]]:
    # Imported when it is asked for: collecting tests must not wait for it.
    import schemathesis
    from schemathesis.config import SchemathesisConfig

    # A word of a query or a header that nobody knows is passed over, as everywhere; tokens have a test of their own.
    config = SchemathesisConfig.from_dict(
        {"generation": {"allow-extra-parameters": False, "with-security-parameters": False}}
    )
    headers = {**bearer(Role.ADMIN), "Host": HOST}
    schema = schemathesis.openapi.from_asgi("/openapi.json", api, config=config, headers=headers)
    for each in schema.get_all_operations():
        yield cast("Ok[Any]", each).ok()


def _can_be_wrong(api: Api, operation: str) -> bool:
    """Whether anything can be given that the description rules out; whoever looks for it where there is none looks long."""
    described = api.operations[operation]
    schemas = [parameter["schema"] for parameter in described.get("parameters", ())]
    return "requestBody" in described or any(
        schema.keys() - {"title"} != {"type"} or schema["type"] != "string" for schema in schemas
    )


def _try_description(api: Api, operation: Any, count: int, *, good: bool) -> None:
    from hypothesis.errors import Unsatisfiable
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    # What is valid by its form may still be refused for what it says; tokens have a test of their own.
    names = set(CHECKS.get_all_names()) - {"positive_data_acceptance", "ignored_auth"}
    # One that is not to be answered with 5xx, and says what is: `judge`.
    names -= {"not_a_server_error"}
    checks = CHECKS.get_by_names(sorted(names))
    mode = GenerationMode.POSITIVE if good else GenerationMode.NEGATIVE
    changes = operation.method.lower() != "get"

    @_tried(count, operation.label, mode.value)
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        before = api.stored() if changes else {}
        headers = {**bearer(Role.ADMIN), "Host": HOST}
        answer = case.call(base_url=f"http://{HOST}", headers=headers)
        case.validate_response(answer, checks=checks)
        api.judge(answer, operation.label, case.as_curl_command())
        if changes and answer.status_code >= 400:
            assert api.stored() == before, f"refused, but stored: {case.as_curl_command()}"

    # Where nothing can be given, nothing can be given wrong.
    with contextlib.suppress(Unsatisfiable):
        holds()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value may stand in a request: `part` is path, query, header, body, or whole for the body itself."""

    part: str
    names: tuple[str, ...] = ()


def _places(api: Api, operation: str, described: Mapping[str, Any]) -> Iterator[_Place]:
    """Every place of an operation for which a value can be given."""
    for parameter in described.get("parameters", ()):
        yield _Place(parameter["in"], (parameter["name"],))
    if "requestBody" not in described:
        return
    yield _Place("whole")
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    for name in {**_properties(api.document, schema), **api.body_of(operation)}:
        yield _Place("body", (name,))
        within = api.body_of(operation).get(name)
        if isinstance(within, Mapping):
            yield from (_Place("body", (name, inner)) for inner in within)


def _properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a body; one that may be left out is one of several forms."""
    for form in schema.get("anyOf", [schema]):
        named = form.get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = document["components"]["schemas"].get(named, form)
        if "properties" in found:
            properties: Mapping[str, Any] = found["properties"]
            return properties
    return {}


def _values(place: _Place) -> st.SearchStrategy[Any]:
    if place.part == "whole":
        return st.one_of(st.sampled_from(ABSURD_BODIES), st.binary(max_size=50))
    if place.part == "body":
        texts = st.text(st.characters(), max_size=50).map(json.dumps)
        numbers = st.one_of(
            st.integers(), st.floats(), st.dates().map(str), st.datetimes().map(str)
        )
        return st.one_of(st.sampled_from(ABSURD), texts, numbers.map(json.dumps))
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    return st.one_of(st.sampled_from(ABSURD_WORDS), texts.map(lambda word: quote(word, safe="")))


def _try_values(api: Api, operation: str, place: _Place, count: int) -> None:
    method = operation.split(" ", maxsplit=1)[0]
    takes_body = "requestBody" in api.operations[operation]

    @_tried(count, operation, *place.names)
    @given(value=_values(place))
    def holds(value: Any) -> None:
        words: dict[str, str] = {}
        query: list[str] = []
        headers: dict[str, Any] = {}
        content = json.dumps(api.body_of(operation)).encode() if takes_body else b""
        match place.part:
            case "path":
                words = {place.names[0]: value}
            case "query":
                query = [f"{place.names[0]}={value}"]
            case "header":
                headers = {place.names[0]: value}
            case "whole":
                content = value
            case _:
                content = _with(api.body_of(operation), place.names, value)
        for parameter in api.operations[operation].get("parameters", ()):
            name = parameter["name"]
            if parameter["in"] == "query" and parameter["required"] and (name,) != place.names:
                query.append(f"{name}={quote(api.words_of(name)[0])}")
        before = api.stored() if method != "GET" else {}
        path = api.path_of(operation, **words) + (f"?{'&'.join(query)}" if query else "")
        if content:
            headers["Content-Type"] = "application/json"
        answer = api.ask(method, path, headers=headers, content=content)
        asked = f"{method} {path[:200]} {headers} {content[:300]!r}"
        # An empty or split path names something else, which may well not be there.
        is_it = place.part != "path" or (value and "/" not in unquote(value))
        api.judge(answer, operation if is_it else None, asked)
        if method != "GET" and answer.status_code >= 400:
            assert api.stored() == before, f"refused, but stored: {asked}"

    holds()


def _with(body: Mapping[str, Any], names: tuple[str, ...], raw: str) -> bytes:
    """The body as JSON, with raw text where `names` lead."""
    mark = "0f3b-the-place-of-the-value"
    changed: dict[str, Any] = json.loads(json.dumps(body))
    inner = changed
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] = mark
    return json.dumps(changed).replace(f'"{mark}"', raw).encode()

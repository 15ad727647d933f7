"""How does the command line ask a service?

Over its HTTP API on this machine, with the token of the role that the command needs and no stronger one. Whatever
comes back is text from elsewhere: it is checked for its shape, and made harmless before it reaches a terminal.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import httpx

from shared.domain.errors import InvalidInput, Misconfigured
from trader.runtime.errors import NotFound, NotRunning, StackError, TimedOut
from trader.runtime.instance import Instance

_CONNECT_WITHIN_S = 2.0
_ANSWER_WITHIN_S = 10.0
_LONGEST_QUOTE = 300
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


class Token(StrEnum):
    """Which of the instance's tokens a call carries."""

    READ = "API_TOKEN_READ"
    OPERATE = "API_TOKEN_OPERATE"
    KILL = "API_TOKEN_KILL"
    ADMIN = "API_TOKEN_ADMIN"


class ServiceApi:
    """The services of one instance, as the command line sees them."""

    def __init__(
        self,
        instance: Instance,
        transport: httpx.BaseTransport | None = None,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        self._instance = instance
        self._answer_within_s = answer_within_s
        # What the environment says of proxies is about the internet, not about this machine.
        self._http = httpx.Client(
            transport=transport,
            timeout=httpx.Timeout(answer_within_s, connect=min(_CONNECT_WITHIN_S, answer_within_s)),
            trust_env=False,
        )

    def get(
        self, service: str, path: str, query: Mapping[str, str | int] | None = None
    ) -> dict[str, Any]:
        """What `service` answers to a GET; see `_ask` for what it raises."""
        return self._ask("GET", service, path, Token.READ, query=query)

    def post(
        self, service: str, path: str, body: Mapping[str, Any], token: Token
    ) -> dict[str, Any]:
        """What `service` answers to a POST of `body`; see `_ask` for what it raises."""
        return self._ask("POST", service, path, token, body=body)

    def _ask(
        self,
        method: str,
        service: str,
        path: str,
        token: Token,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Ask once.

        Raises:
            NotRunning: nobody listens there.
            TimedOut: it listens and does not answer; whether a POST took effect is then unknown.
            NotFound: what the path names does not exist.
            InvalidInput: the service will not take what was given.
            StackError: anything else that is no answer.
        """
        name = service.replace("_", " ")
        secret = self._instance.settings.get(token.value)
        if not secret:
            raise Misconfigured(f"{token.value} is not set; run `make setup`, which makes it")
        try:
            answer = self._http.request(
                method,
                f"{self._instance.url_of(service)}{path}",
                params=query,
                json=None if body is None else {key: _text(body[key]) for key in body},
                headers={"Authorization": f"Bearer {secret}"},
            )
        except httpx.ConnectTimeout as error:
            raise TimedOut(
                f"the {name} did not take the call within {_CONNECT_WITHIN_S:g} s"
            ) from error
        except httpx.TimeoutException as error:
            hint = "" if method == "GET" else "; look whether it took effect before you ask again"
            raise TimedOut(
                f"the {name} did not answer within {self._answer_within_s:g} s{hint}"
            ) from error
        except httpx.ConnectError as error:
            raise NotRunning(f"the {name} does not run; start it with `trader up`") from error
        except httpx.HTTPError as error:
            raise StackError(
                f"the {name} broke off: {type(error).__name__}; see `trader logs {service}`"
            ) from error
        said = _document(answer)
        if answer.is_success and said is not None:
            return said
        raise _problem(answer, said, name)


def _document(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        said = answer.json()
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _problem(answer: httpx.Response, said: dict[str, Any] | None, name: str) -> Exception:
    if answer.is_success:
        return StackError(
            f"the {name} gave an answer that is no JSON object; is it another program?"
        )
    detail = (said or {}).get("detail")
    reason = harmless(detail if isinstance(detail, str) else answer.text)[:_LONGEST_QUOTE]
    match answer.status_code:
        case 404:
            return NotFound(reason)
        case 400 | 422:
            return InvalidInput(reason)
        case 401:
            return StackError(
                f"the {name} does not know our token: it was started with other settings; restart it"
            )
        case _:
            return StackError(f"the {name} answered {answer.status_code}: {reason}")


def items(said: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The rows of a list answer.

    Raises:
        StackError: the answer is no list of objects.
    """
    rows = said.get("items")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise StackError(f"the {name} gave a list that cannot be read; is it another version?")
    return rows


def harmless(text: str) -> str:
    """`text` without anything that a terminal would obey: escapes, line ends, reversed writing."""
    return "".join(c if c.isprintable() else _UNREADABLE for c in text)


def _text(value: Any) -> Any:
    """`value`, with a question mark for what is no text (broken UTF-8, a line end): no halt fails for it."""
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isprintable() else "?" for letter in value)

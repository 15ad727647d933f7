"""How does a command reach a server that stands in a network which this machine does not see?

Docker Desktop, rootless and remote engines route no container's address. So a command connects to a socket in a folder of
its own, which no other account can open, and each connection becomes the standard input and output of a program beside
the server that passes bytes on. What the bytes mean is nobody's business here; the server asks for its password as ever.
"""

import os
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from shared.domain.errors import Misconfigured
from trader.runtime.waiting import LOOK_EVERY_S

# Passes on what comes until either side has ended, and leaves nothing of itself behind. A program in the background has
# an empty standard input of its own, hence the fourth handle.
RELAY = (
    'exec 3<>"/dev/tcp/127.0.0.1/$1" 4<&0 || exit 1; '
    "cat <&3 & cat <&4 >&3 & "
    "wait -n; kill $(jobs -p) 2>/dev/null; exit 0"
)


def relay_words(port: int) -> tuple[str, ...]:
    """What carries a connection from its standard input and output to `port`, where it is run; needs Bash 4.3."""
    return ("bash", "-c", RELAY, "relay", str(port))


@contextmanager
def tunnel(words: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[Path]:
    """A folder with the socket that PostgreSQL's clients look for under `port`; every connection runs `words`.

    Raises:
        Misconfigured: there is no place for a socket.
    """

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # A refusal shows as a connection that ends, as it does with any server that is away.
            subprocess.run(  # noqa: S603  chosen by the runtime
                words,
                env=dict(environment),
                stdin=self.request,
                stdout=self.request,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    class Door(socketserver.ThreadingUnixStreamServer):
        # Whoever left takes the program along, by the end of its input; nobody needs to wait for it.
        daemon_threads = True

    with tempfile.TemporaryDirectory(prefix="trader-") as made:
        folder = Path(made)
        try:
            door = Door(os.fspath(folder / f".s.PGSQL.{port}"), Connection)
        except OSError as error:
            raise Misconfigured(
                f"no socket can be made in {folder}: {error.strerror or error}; "
                "let TMPDIR name a folder with a short path"
            ) from error
        with door:
            serve = partial(door.serve_forever, poll_interval=LOOK_EVERY_S)
            threading.Thread(target=serve, name="tunnel", daemon=True).start()
            try:
                yield folder
            finally:
                door.shutdown()

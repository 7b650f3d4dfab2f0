"""A small web server on this machine, for tests of whatever fetches: it says what it is told to, or misbehaves on purpose."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from urllib3.response import HTTPResponse

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]
"""The bytes of a file, or a function that answers by itself."""


@dataclass
class Site:
    """Where it stands, what it holds by path, the headers it adds, and the paths it was asked for, in that order."""

    url: str
    files: dict[str, Answer] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    """The paths whose bytes were sent to their end."""


@contextmanager
def serve(**files: Answer) -> Iterator[Site]:
    """A site at 127.0.0.1 with these files at its top; more may be added while it stands."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            site.asked.append(path)
            answer = site.files.get(path)
            if answer is None:
                self.send_error(404)
            elif not isinstance(answer, bytes):
                answer(self)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("ETag", f'"{hashlib.sha256(answer).hexdigest()[:16]}"')
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(answer)
                    site.fetched.append(path)
                except OSError:  # whoever asked has heard enough
                    pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_address[1]}", {f"/{name}": data for name, data in files.items()})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Endless:
    """An answer without an end, and without a word on its length; `sent` counts its bytes."""

    sent: int = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("ETag", '"endless"')
        handler.end_headers()
        try:
            while self.sent < 2**32:  # an end after all, for a test that fails
                handler.wfile.write(bytes(2**16))
                self.sent += 2**16
        except OSError:
            pass


def cut_short(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that announces more than the `data` it gives."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) + 1000))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def moved_to(url: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that leads on to `url`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.end_headers()

    return answer


def watch_reads(patch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the blocks that downloads have read from here on.

    What a server has sent says less: of that, the buffers of both sockets may hold many megabytes which nobody has read.
    """
    blocks: list[int] = []
    stream = HTTPResponse.stream

    def watched(*arguments: Any, **named: Any) -> Iterator[bytes]:
        for block in stream(*arguments, **named):
            blocks.append(len(block))
            yield block

    patch.setattr(HTTPResponse, "stream", watched)
    return blocks

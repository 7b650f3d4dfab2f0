"""A server for the page of a study, for people at this machine: Python's own HTTP server, on 127.0.0.1.

No request is trusted. There are two routes, ``/`` (the page) and ``/judgements``, and no file name is taken from a request. A
judgement must be small, valid, and fit a trial of this study, or the answer is an error that says why. Requests that another
site makes a browser send are refused by their Origin header, and requests under another host name (DNS rebinding) by their Host
header.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limner.core.errors import InputError
from limner.core.invocation import option
from limner.evaluation.human.records import (
    ANSWERS_FOLDER,
    MAX_JUDGEMENT_BYTES,
    PAGE_FILE,
    append_judgement,
    first_fault,
    read_judgement,
    read_key,
)

HOST, PORT = "127.0.0.1", 8420
SERVED_FILE = "served.jsonl"
"""The file of judgements that come by the server."""
MAX_ANSWERS_BYTES = 256 << 20
"""Size of that file at which no more judgements are accepted."""
CONNECTION_TIMEOUT = 10.0
"""Seconds after which a silent connection is closed."""


class StudyServer(ThreadingHTTPServer):
    """Serves the study in `folder`, and adds judgements to its ``answers/served.jsonl``.

    Port 0 is any free one; `url` says which. Errors: `InputError` where there is no study, or the port is not free.
    """

    daemon_threads = True
    request_queue_size = 128
    """Connections that may wait to be accepted; of more than Python's default of 5 at once, some were reset."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        self.key = read_key(folder)
        self.file = folder / ANSWERS_FOLDER / SERVED_FILE
        self.judgement_count = 0
        """Judgements that were written since the server started."""
        self.lock = threading.Lock()
        try:
            self.page = (folder / PAGE_FILE).read_bytes()
        except OSError as error:
            raise InputError(f"no {PAGE_FILE} in {folder}; make the study anew with `limner rate RUN…`") from error
        if not 0 <= port < 65536:
            raise InputError(f"{option('port')} {port}: give 1024 to 65535, or 0 for any that is free")
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(
                f"port {port} cannot be used ({error.strerror}); give another {option('port')}, or 0 for any"
            ) from error
        names = (HOST, "localhost")
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in names)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints a fault in one line; a connection that the browser broke off is none."""
        error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if not isinstance(error, ConnectionError | socket.timeout):
            print(f"limner: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


class _RequestError(Exception):
    """A request that is refused, with the HTTP status and the reason."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "limner", ""
    timeout = CONNECTION_TIMEOUT

    def do_GET(self) -> None:
        try:
            self._check_sender()
        except _RequestError as error:
            return self._refuse(error)
        if self.path not in ("/", f"/{PAGE_FILE}"):
            return self._refuse(_RequestError(HTTPStatus.NOT_FOUND, "there is only the page"))
        return self._respond(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        try:
            self._check_sender()
            self._receive_judgement()
        except _RequestError as error:
            return self._refuse(error)
        return self._respond(HTTPStatus.NO_CONTENT, b"")

    def _check_sender(self) -> None:
        """Checks that the request was sent to this server by its own name, and by its own page. Errors: `_RequestError`."""
        if self.headers.get("Host") not in self.server.hosts:
            raise _RequestError(HTTPStatus.FORBIDDEN, f"this is {self.server.url}")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _RequestError(HTTPStatus.FORBIDDEN, "another site's page may not send anything here")

    def _receive_judgement(self) -> None:
        """Reads one judgement, checks it and writes it down. Errors: `_RequestError`."""
        if self.path != "/judgements":
            raise _RequestError(HTTPStatus.NOT_FOUND, "judgements go to /judgements")
        if self.headers.get_content_type() != "application/json":
            raise _RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a judgement is application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _RequestError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if len(length) > 9 or int(length) > MAX_JUDGEMENT_BYTES:
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a judgement has at most {MAX_JUDGEMENT_BYTES} bytes")
        try:
            judgement = read_judgement(self.rfile.read(int(length)))
        except ValidationError as error:
            raise _RequestError(HTTPStatus.BAD_REQUEST, f"not a judgement: {first_fault(error)}") from error
        fault = self.server.key.fault(judgement)
        if fault is not None:
            raise _RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"a judgement {fault}")
        with self.server.lock:
            try:
                file = self.server.file
                if file.is_file() and file.stat().st_size > MAX_ANSWERS_BYTES:
                    raise _RequestError(HTTPStatus.INSUFFICIENT_STORAGE, f"{file.name} is full")
                append_judgement(file, judgement)
            except OSError as error:
                print(f"limner: {self.server.file} cannot be written: {error.strerror}", file=sys.stderr, flush=True)
                raise _RequestError(HTTPStatus.INSUFFICIENT_STORAGE, "it could not be written down") from error
            self.server.judgement_count += 1

    def _refuse(self, error: _RequestError) -> None:
        self.close_connection = True  # the rest of the request is not read
        self._respond(error.status, json.dumps({"error": str(error)}).encode(), "application/json")

    def _respond(self, status: HTTPStatus, body: bytes, content_type: str = "") -> None:
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are not logged, for the sake of people's privacy."""

"""The page on this machine, for people who sit at it: Python's own server on 127.0.0.1, which takes judgements and no more.

Whatever comes in is not trusted. There are two addresses, the page and ``judgements``; no name of a file is taken from a
request; a judgement is small, has the form of one and fits a trial of this study, or is refused with a word why. Requests that
another site makes a browser send are refused by their Origin, and those under another name (DNS rebinding) by their Host.
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
from limner.evaluation.human.records import ANSWERED, MOST_BYTES, PAGE, append, read_judgement, read_key, reason

HOST, PORT = "127.0.0.1", 8420
SERVED = "served.jsonl"
MOST_FILE = 256 << 20
PATIENCE = 10.0
"""Seconds that a silent connection is kept."""


class StudyServer(ThreadingHTTPServer):
    """Serves the study in `folder`, and adds judgements to its ``answers/served.jsonl``. Port 0 takes any that is free.

    Errors: `InputError` where there is no study, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = PORT) -> None:
        self.key = read_key(folder)
        self.file = folder / ANSWERED / SERVED
        self.added = 0
        self.lock = threading.Lock()
        try:
            self.page = (folder / PAGE).read_bytes()
        except OSError as error:
            raise InputError(f"no {PAGE} in {folder}; make the study anew with `limner rate RUN…`") from error
        if not 0 <= port < 65536:
            raise InputError(f"--port {port}: give 1024 to 65535, or 0 for any that is free")
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); give another --port, or 0 for any") from error
        names = (HOST, "localhost")
        self.hosts = frozenset(f"{name}:{self.server_port}" for name in names)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the browser's business; any other fault is told in one line."""
        error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if not isinstance(error, ConnectionError | socket.timeout):
            print(f"limner: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "limner", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        try:
            self._known()
        except _Refused as refused:
            return self._refuse(refused)
        if self.path not in ("/", f"/{PAGE}"):
            return self._refuse(_Refused(HTTPStatus.NOT_FOUND, "there is only the page"))
        return self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        try:
            self._known()
            self._take()
        except _Refused as refused:
            return self._refuse(refused)
        return self._answer(HTTPStatus.NO_CONTENT, b"")

    def _known(self) -> None:
        """Asked for by a name of ours, and by a page of ours."""
        if self.headers.get("Host") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, f"this is {self.server.url}")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "another site's page may not send anything here")

    def _take(self) -> None:
        """Reads one judgement and keeps it."""
        if self.path != "/judgements":
            raise _Refused(HTTPStatus.NOT_FOUND, "judgements go to /judgements")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a judgement is application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if len(length) > 9 or int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a judgement has at most {MOST_BYTES} bytes")
        try:
            judgement = read_judgement(self.rfile.read(int(length)))
        except ValidationError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"not a judgement: {reason(error)}") from error
        fault = self.server.key.fault(judgement)
        if fault is not None:
            raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"a judgement {fault}")
        with self.server.lock:
            try:
                file = self.server.file
                if file.is_file() and file.stat().st_size > MOST_FILE:
                    raise _Refused(HTTPStatus.INSUFFICIENT_STORAGE, f"{file.name} is full")
                append(file, judgement)
            except OSError as error:
                print(f"limner: {self.server.file} cannot be written: {error.strerror}", file=sys.stderr, flush=True)
                raise _Refused(HTTPStatus.INSUFFICIENT_STORAGE, "it could not be written down") from error
            self.server.added += 1

    def _refuse(self, refused: _Refused) -> None:
        self.close_connection = True  # whatever else was sent is not read
        self._answer(refused.status, json.dumps({"error": str(refused)}).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "") -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who asked for what is nobody's business."""

"""Downloads. A file is complete and its checksum verified, or it is absent.

`pooch` fetches to a temporary name and compares the checksum before the file gets its own name. Nothing is unpacked or parsed
here. Redirects are followed to http and https only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from limner.core.address import public_address, public_text
from limner.core.files import atomic
from limner.core.progress import OnProgress, Progress, silent

TIMEOUT = 30.0
"""Seconds that a server may take to answer, and that it may pause while it sends."""
_BLOCK_BYTES = 2**20
_REQUEST_HEADERS = {"Accept-Encoding": "identity"}
"""The file as it is published, not compressed on the way: a checksum is of the published bytes."""


class DownloadError(Exception):
    """No address delivered the file. The message gives the reason for each in one line, without the secrets of an address."""


class NoAnswerError(DownloadError):
    """The server could not be reached, or did not answer in time: the file may exist all the same."""


def download(
    urls: Sequence[str], path: Path, *, checksum: str | None, max_bytes: int, on_progress: OnProgress = silent
) -> None:
    """Fetches a file to `path` from the first of `urls` that delivers it; each is tried once.

    `checksum` is ``"md5:…"`` or ``"sha256:…"`` in hexadecimal digits; None where it is unknown. A file of more than `max_bytes`
    is refused as soon as that many have arrived. Progress is reported in MiB.

    Errors: `DownloadError` where no address delivers it; `InputError` where `path` cannot be written.
    """
    import pooch
    from requests.exceptions import RequestException

    reasons = []
    for url in urls:
        name = path.name
        try:
            with _quiet(pooch.get_logger()), atomic(path) as temporary:
                name = temporary.name
                temporary.touch()
                mode = temporary.stat().st_mode  # of a new file of this person; pooch's files can be read by their owner only
                temporary.unlink()
                pooch.retrieve(
                    url, checksum, temporary.name, temporary.parent, downloader=_Stream(path.name, max_bytes, on_progress)
                )
                temporary.chmod(mode)
            return
        except (RequestException, ValueError) as error:
            reasons.append(f"{public_address(url)}: {_reason(error, url).replace(name, path.name)}")
    raise DownloadError("; ".join(reasons))


def fetch_headers(url: str) -> Mapping[str, str]:
    """The server's response headers for `url` (``ETag``, ``Last-Modified``, ``Content-Length``), without the file itself.

    Errors: `DownloadError` where there is no such file; its subclass `NoAnswerError` where no server answers.
    """
    import requests

    try:
        # GET and not HEAD: a signed address is valid for one method only. The body is not read.
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=_REQUEST_HEADERS) as reply:
            reply.raise_for_status()
            return reply.headers
    except (requests.exceptions.RequestException, ValueError) as error:
        unanswered = isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout)
        kind = NoAnswerError if unanswered else DownloadError
        raise kind(f"{public_address(url)}: {_reason(error, url)}") from error


def content_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of a file by the header ``Content-Length``; None where it is absent or no number.

    >>> content_length({"Content-Length": "1024"}), content_length({"Content-Length": "unknown"})
    (1024, None)
    """
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """A context in which pooch does not log each download, which limner reports itself; its logger is restored afterwards."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class _Stream:
    """A downloader for pooch: writes the response to a file block by block, and reports progress.

    Errors: `ValueError` once there are more than `max_bytes`.
    """

    name: str
    max_bytes: int
    on_progress: OnProgress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests
        from urllib3.exceptions import HTTPError

        size, what = 0, f"fetching {self.name} (MiB)"
        with (
            requests.get(url, stream=True, timeout=TIMEOUT, headers=_REQUEST_HEADERS) as reply,
            Path(output_file).open("wb") as handle,
        ):
            reply.raise_for_status()
            total = content_length(reply.headers) or 0
            if total > self.max_bytes:
                raise ValueError(f"it is {total:,} bytes long, and at most {self.max_bytes:,} are expected")
            try:
                # Not decoded, whatever encoding the server declares: the checksum is of the bytes as they are published.
                for block in reply.raw.stream(_BLOCK_BYTES, decode_content=False):
                    size += handle.write(block)
                    if size > self.max_bytes:
                        raise ValueError(f"it sends more than the {self.max_bytes:,} bytes that are expected")
                    self.on_progress(Progress(what, size // _BLOCK_BYTES, total // _BLOCK_BYTES))
            except HTTPError as error:
                raise requests.ConnectionError(error) from error


def _reason(error: BaseException, url: str) -> str:
    """The innermost cause of an error about `url`, in one line without secrets; requests wraps errors of urllib3."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), BaseException):
        error = inner
    return public_text(re.sub(r"^<[^>]*>: ", "", " ".join(str(error).split())), url) or type(error).__name__

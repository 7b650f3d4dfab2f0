"""Files from the network: each is whole and verified, or not there.

`pooch` fetches to a temporary name and compares the checksum before the file takes its own. What arrives is stored and nothing
else: it is neither unpacked nor read here. Redirects lead to http and https only.
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
"""Seconds in which a server has to answer, and after which a pause in its answer is its end."""
_BLOCK = 2**20
_HEADERS = {"Accept-Encoding": "identity"}


class DownloadError(Exception):
    """No address gave the file. The message says of each, in one line, why not, and shows nothing secret of an address."""


class NoAnswerError(DownloadError):
    """The server could not be reached, or did not answer in time; of the file this says nothing."""


def download(urls: Sequence[str], path: Path, *, checksum: str | None, most: int, tell: OnProgress = silent) -> None:
    """Fetches a file to `path` from the first of `urls` that gives it; each is tried once.

    `checksum` is ``"md5:…"`` or ``"sha256:…"`` in hex; None where none is known. A file of more than `most` bytes is refused as
    soon as that many have come. `tell` hears of the progress in MiB.

    Errors: `DownloadError` where no address gives it; `InputError` where `path` cannot be written.
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
                mode = temporary.stat().st_mode  # that of the person's new files; pooch's are for their owner alone
                temporary.unlink()
                pooch.retrieve(url, checksum, temporary.name, temporary.parent, downloader=_Stream(path.name, most, tell))
                temporary.chmod(mode)
            return
        except (RequestException, ValueError) as error:
            reasons.append(f"{public_address(url)}: {_reason(error, url).replace(name, path.name)}")
    raise DownloadError("; ".join(reasons))


def headers(url: str) -> Mapping[str, str]:
    """What the server says of the file at `url` (``ETag``, ``Last-Modified``, ``Content-Length``), without fetching it.

    Errors: `DownloadError` where there is no such file, and `NoAnswerError`, which is one, where nobody answers.
    """
    import requests

    try:
        # Not HEAD: signed addresses allow one method alone. The body is not read.
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=_HEADERS) as reply:
            reply.raise_for_status()
            return reply.headers
    except (requests.exceptions.RequestException, ValueError) as error:
        silent_server = isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout)
        kind = NoAnswerError if silent_server else DownloadError
        raise kind(f"{public_address(url)}: {_reason(error, url)}") from error


def length(said: Mapping[str, str]) -> int | None:
    """The bytes of a file by its ``Content-Length``; None where there is none, or it is no number."""
    text = said.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """pooch announces every download, and we do so ourselves; the logger is its user's as well and stays as it was."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class _Stream:
    """Writes an answer to a file block by block, as pooch asks of a downloader, and counts its bytes.

    Errors: `ValueError` once there are more than `most`.
    """

    name: str
    most: int
    tell: OnProgress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests
        from urllib3.exceptions import HTTPError

        size, what = 0, f"fetching {self.name} (MiB)"
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=_HEADERS) as reply, Path(output_file).open("wb") as handle:
            reply.raise_for_status()
            total = length(reply.headers) or 0
            if total > self.most:
                raise ValueError(f"it is {total:,} bytes long, and at most {self.most:,} are expected")
            try:
                # Not decoded, whatever the server says of their encoding: a checksum is that of the file as it is published.
                for block in reply.raw.stream(_BLOCK, decode_content=False):
                    size += handle.write(block)
                    if size > self.most:
                        raise ValueError(f"it sends more than the {self.most:,} bytes that are expected")
                    self.tell(Progress(what, size // _BLOCK, total // _BLOCK))
            except HTTPError as error:
                raise requests.ConnectionError(error) from error


def _reason(error: BaseException, url: str) -> str:
    """The innermost cause of an error of requests about `url`, which wraps those of urllib3, in one line without secrets."""
    while isinstance(inner := getattr(error, "reason", None) or next(iter(error.args), None), BaseException):
        error = inner
    return public_text(re.sub(r"^<[^>]*>: ", "", " ".join(str(error).split())), url) or type(error).__name__

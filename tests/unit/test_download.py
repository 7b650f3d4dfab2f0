"""Fetching files: whole and verified, or not there, with a reason in one line."""

from __future__ import annotations

import hashlib
import logging
import socket
from pathlib import Path

import pooch
import pytest

from limner.core.download import DownloadError, NoAnswerError, download, fetch_headers
from limner.core.errors import InputError
from limner.core.progress import Progress
from served import Endless, cut_short, moved_to, serve, watch_reads

DATA = bytes(range(256)) * 20_000  # 5 MB
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def test_the_first_address_that_gives_the_right_file(tmp_path: Path) -> None:
    told: list[Progress] = []
    with serve(wrong=DATA[1:] + b"?", right=DATA) as site:
        urls = [f"{site.url}/{name}" for name in ("missing", "wrong", "right", "never")]
        download(urls, tmp_path / "new" / "file.bin", checksum=SHA256, max_bytes=len(DATA), on_progress=told.append)
        assert site.asked == ["/missing", "/wrong", "/right"]
    assert (tmp_path / "new" / "file.bin").read_bytes() == DATA
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.bin"]
    assert (told[-1].what, told[-1].done, told[-1].total) == ("fetching file.bin (MiB)", 4, 4)
    (tmp_path / "own").touch()  # others may read it as they may read any new file of this person
    assert (tmp_path / "new" / "file.bin").stat().st_mode == (tmp_path / "own").stat().st_mode


def test_bytes_are_stored_as_they_are_published(tmp_path: Path) -> None:
    """A server may say that a .gz is a gzip-encoded answer; unpacked, it would not have its checksum."""
    with serve(**{"a.gz": DATA}) as site:
        site.headers["Content-Encoding"] = "gzip"
        download([f"{site.url}/a.gz"], tmp_path / "a.gz", checksum=f"md5:{hashlib.md5(DATA).hexdigest()}", max_bytes=len(DATA))
    assert (tmp_path / "a.gz").read_bytes() == DATA


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (DATA[:-1] + b"?", "SHA256.*file.bin.*does not match"),
        (DATA + b"?", "5,120,001 bytes long, and at most 5,120,000"),
        (cut_short(DATA[:1000]), "1000 bytes read"),
        (moved_to("file:///etc/hostname"), "file:///etc/hostname"),
        (None, "404"),
    ],
)
def test_what_is_refused_leaves_nothing(answer: object, words: str, tmp_path: Path) -> None:
    with serve() as site:
        if answer is not None:
            site.files["/file.bin"] = answer  # type: ignore[assignment]
        with pytest.raises(DownloadError, match=words) as caught:
            download([f"{site.url}/file.bin"], tmp_path / "file.bin", checksum=SHA256, max_bytes=len(DATA))
    assert str(caught.value).startswith(f"{site.url}/file.bin: ")
    assert "\n" not in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = watch_reads(monkeypatch)
    with serve(file=Endless()) as site, pytest.raises(DownloadError, match="sends more than the 5,120,000 bytes"):
        download([f"{site.url}/file"], tmp_path / "file", checksum=SHA256, max_bytes=len(DATA))
    assert len(DATA) < sum(blocks) <= len(DATA) + 2**20  # it stops at the block, of at most a MiB, that goes beyond
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        raise KeyboardInterrupt

    with serve(file=DATA) as site, pytest.raises(KeyboardInterrupt):
        download([f"{site.url}/file"], tmp_path / "file", checksum=SHA256, max_bytes=len(DATA), on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_door_and_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/file"
    with pytest.raises(DownloadError, match="refused") as caught:
        download([closed], tmp_path / "file", checksum=SHA256, max_bytes=1)
    assert "object at" not in str(caught.value)
    with pytest.raises(DownloadError, match="refused"):
        fetch_headers(closed)
    (tmp_path / "folder").write_bytes(b"a file")
    with serve(file=DATA) as site, pytest.raises(InputError, match="stands where a folder should"):
        download([f"{site.url}/file"], tmp_path / "folder" / "file", checksum=SHA256, max_bytes=len(DATA))


def test_the_logger_of_pooch_is_left_as_it_was(tmp_path: Path) -> None:
    logger = pooch.get_logger()
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        with serve(file=DATA) as site:
            download([f"{site.url}/file"], tmp_path / "file", checksum=SHA256, max_bytes=len(DATA))
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


def test_a_path_that_cannot_be_is_an_error_of_downloads(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="null"):
        download(["http://127.0.0.1:9/file"], tmp_path / "a\0b" / "file", checksum=None, max_bytes=1)


def test_nobody_answers(tmp_path: Path) -> None:
    with serve() as site:
        with pytest.raises(DownloadError) as caught:
            fetch_headers(f"{site.url}/file")
        assert not isinstance(caught.value, NoAnswerError)  # it says that there is no such file
    with pytest.raises(NoAnswerError):
        fetch_headers(f"{site.url}/file")

"""Archives as Windows, tar and people make them: backslashes, links, repeated members, cut ends, headers that lie."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import made
from limner.core.errors import InputError
from limner.data import archives, arrays
from limner.data.archives import open_tree
from limner.data.listing import FILE_LIMIT, Fault, Files, Listing
from limner.data.options import DataOptions
from limner.data.sources import find_source


def listed(path: Path, **options: object) -> Listing:
    return find_source(path).listing(DataOptions.of(options))


def content(listing: Listing) -> dict[str, object]:
    """Name -> bytes, or the reason why there are none."""
    assert isinstance(listing.content, Files)
    payloads = listing.content.tree.read(listing.content.names)
    return {name: payload.reason if isinstance(payload, Fault) else payload for name, payload in payloads}


Member = tuple[str, bytes | str | None]
"""(name, content); a text is the target of a symbolic link, one that begins with ``=`` that of a hard link, None a pipe."""


def tar(path: Path, members: list[Member], **options: object) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, what in members:
            member = tarfile.TarInfo(name)
            for key, value in options.items():
                setattr(member, key, value)
            if isinstance(what, bytes):
                member.size = len(what)
            elif what is None:
                member.type = tarfile.FIFOTYPE
            else:
                member.type = tarfile.LNKTYPE if what.startswith("=") else tarfile.SYMTYPE
                member.linkname = what.removeprefix("=")
            archive.addfile(member, io.BytesIO(what) if isinstance(what, bytes) else None)
    return path


def zipped(path: Path, members: list[Member]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, what in members:
            member = zipfile.ZipInfo("x")
            member.filename = name  # as it is: the constructor would change the separators of this system
            if isinstance(what, str):
                member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, what or b"")
    return path


@pytest.mark.parametrize("pack", [zipped, tar])
def test_backslashes_in_names_are_folders(pack: Callable[[Path, list[Member]], Path], tmp_path: Path) -> None:
    table = b"file_name,text\ncat\\0.png,a cat\n"
    members: list[Member] = [(f"set\\{kind}\\{n}.png", b"%d" % n) for kind in ("cat", "dog") for n in range(3)]
    path = pack(
        tmp_path / ("a.zip" if pack is zipped else "a.tar"), [*members, ("set\\metadata.csv", table), ("set\\more\\", b"")]
    )
    listing = listed(path)
    assert listing.classes == ("cat", "dog")
    assert listing.captions is not None
    assert listing.captions[0] == "a cat"
    assert content(listing)["set/dog/2.png"] == b"2"
    before = listed(path, rules=1)
    assert before.classes == ()
    assert "set\\dog\\2.png" in content(before)
    evil = pack(tmp_path / ("b.zip" if pack is zipped else "b.tar"), [("..\\0.png", b""), ("C:\\1.png", b""), ("2.png", b"")])
    assert [one.reason for one in listed(evil).rejected] == ["its path leads out of the archive"] * 2


def test_names_in_utf8_that_do_not_say_so(tmp_path: Path) -> None:
    """As many archivers write them: without the flag, the bytes would be read as cp437."""
    path = zipped(tmp_path / "a.zip", [("bär/0.png", b""), ("cat/0.png", b"")])
    data = path.read_bytes()
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark) + place
        data = data[:start] + b"\0\0" + data[start + 2 :]
    path.write_bytes(data)
    assert listed(path).classes == ("bär", "cat")
    assert len(content(listed(path))) == 2


LINKS: list[Member] = [
    ("cat/0.png", b"zero"),
    ("dog/before.png", "../cat/1.png"),
    ("cat/1.png", b"one"),
    ("dog/hard.png", "=cat/0.png"),
    ("dog/soft.png", "../cat/0.png"),
    ("dog/chain.png", "soft.png"),
    ("dog/out.png", "/etc/passwd"),
    ("dog/up.png", "../../cat/0.png"),
    ("dog/gone.png", "nothing.png"),
    ("dog/loop.png", "loop.png"),
]
DATA_OF_LINKS = {
    "cat/0.png": b"zero",
    "cat/1.png": b"one",
    "dog/before.png": b"one",
    "dog/hard.png": b"zero",
    "dog/soft.png": b"zero",
    "dog/chain.png": b"zero",
    "dog/out.png": "is a link to /etc/passwd, which is no file of the archive",
    "dog/up.png": "is a link to ../cat/0.png, which is no file of the archive",
    "dog/gone.png": "is a link to dog/nothing.png, which is no file of the archive",
    "dog/loop.png": "is a link to dog/loop.png, which is no file of the archive",
}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_links_inside_an_archive_are_followed(name: str, tmp_path: Path) -> None:
    if name == "a.zip":  # zip knows no hard links
        path = zipped(tmp_path / name, [(file, "../cat/0.png" if what == "=cat/0.png" else what) for file, what in LINKS])
    else:
        path = tar(tmp_path / name, LINKS)
    assert content(listed(path)) == DATA_OF_LINKS
    if name != "a.zip":
        assert set(content(listed(path, rules=1))) == {"cat/0.png", "cat/1.png"}


def test_a_pipe_in_an_archive_is_set_aside(tmp_path: Path) -> None:
    assert content(listed(tar(tmp_path / "a.tar", [("0.png", b"x"), ("pipe.png", None)]))) == {
        "0.png": b"x",
        "pipe.png": "is a pipe or a device, not a regular file",
    }


@pytest.mark.parametrize(("name", "wanted"), [("a.zip", b"new"), ("a.tar", b"old")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_said(name: str, wanted: bytes, tmp_path: Path) -> None:
    members: list[Member] = [("0.png", b"old"), ("1.png", b"x"), ("0.png", b"new"), ("0.txt", b""), ("0.txt", b"")]
    path = (zipped if name == "a.zip" else tar)(tmp_path / name, members)
    which = "last" if name == "a.zip" else "first"
    listing = listed(path)
    assert f"{name}: 0.png is there 2 times, and 1 other names are there more than once; only the {which} of each is read" in (
        listing.notes
    )
    assert content(listing)["0.png"] == wanted
    assert listed(path, rules=1).notes == ()


def test_a_tar_that_was_cut_off_between_two_files_is_said(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [(f"{number}.png", b"x") for number in range(4)])
    path.write_bytes(path.read_bytes()[: 2 * 1024])
    listing = listed(path)
    assert len(listing) == 2
    assert "a.tar: it ends without the zeros that close a .tar, so it may have been cut off" in listing.notes[0]
    assert len(listed(path, rules=1)) == 2


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_header_in_the_middle_that_is_none_is_damage(name: str, tmp_path: Path) -> None:
    """Python takes it for the end of the archive: half of the pictures would be missing without a word."""
    path = tar(tmp_path / name, [(f"{number}.png", b"x") for number in range(4)])
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    for broken in (data[:2048] + b"?" * 512 + data[2560:], data[:2048] + data[2048:2100]):
        path.write_bytes(gzip.compress(broken) if name.endswith("gz") else broken)
        with pytest.raises(InputError, match=r"damaged.*at byte 2,048"):
            listed(path)
        assert len(listed(path, rules=1)) == 2


def test_archives_that_were_joined_are_said(tmp_path: Path) -> None:
    one, other = (tar(tmp_path / f"{name}.tar", [(f"{name}.png", b"x")]) for name in "ab")
    one.write_bytes(one.read_bytes() + other.read_bytes())
    assert "more follows behind its end" in "\n".join(listed(one).notes)
    assert listed(other).notes == ()


@pytest.mark.parametrize("size", ["-512", "9" * 30, "9" * 5000])
def test_numbers_of_pax_headers_that_are_none(size: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", [("0.png", b"x"), ("1.png", b"x")], pax_headers={"size": size})
    with pytest.raises(InputError, match="damaged") as error:
        listed(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_gigabytes_is_not_read(kind: bytes, tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 3 << 30
    path = made.write(tmp_path / "a.tar.gz", gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    with pytest.raises(InputError, match="states 3,221,225,472 bytes"):
        listed(path)


def test_a_member_that_claims_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", b"x")
        archive.writestr("1.png", bytes(4096))
    data = path.read_bytes()
    place = data.rfind(b"PK\x01\x02") + 24
    path.write_bytes(data[:place] + (FILE_LIMIT + 1).to_bytes(4, "little") + data[place + 4 :])
    tree = open_tree(path)
    sizes = [entry.size for entry in tree.entries()]
    assert sizes == [1, FILE_LIMIT + 1]
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert list(tree.read(["1.png"])) == [("1.png", Fault("larger than 512 MiB"))]


def test_a_member_that_expands_like_no_picture_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_BOMB_BYTES", 2**16)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(2**20))
        archive.writestr("large.png", np.random.default_rng(0).bytes(2**17))
        archive.writestr("small.png", bytes(2**12))
    payloads = content(listed(path))
    assert payloads.pop("bomb.png") == "expands more than 500-fold, as no picture does"
    assert {name: len(payload) for name, payload in payloads.items() if isinstance(payload, bytes)} == {
        "large.png": 2**17,
        "small.png": 2**12,
    }


# Files of pixels.


def test_an_idx_file_that_claims_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = bytes([0, 0, 8, 3]) + (1 << 10).to_bytes(4, "big") * 3
    path = made.write(tmp_path / "x-images-idx3-ubyte", head + bytes(100))
    monkeypatch.setattr(arrays, "_spooled", None)
    with pytest.raises(InputError, match="fewer bytes than its header states"):
        arrays.read_idx(path)
    labels = made.write(tmp_path / "x-labels-idx1-ubyte", bytes([0, 0, 8, 1]) + b"\x7f\xff\xff\xff")
    with pytest.raises(InputError, match="states the shape"):
        arrays.read_idx(labels, max_count=1000)


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_a_large_idx_file_is_mapped(wrap: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 7), dtype=np.uint8)
    path = made.write(tmp_path / "x-images-idx3-ubyte", wrap(made.idx(pixels)))
    monkeypatch.setattr(arrays, "_MAX_BYTES_IN_MEMORY", 100)
    mapped = arrays.read_idx(path)
    assert (mapped == pixels).all()
    assert not mapped.flags.owndata
    for data, words in ((made.idx(pixels)[:-1], "fewer"), (made.idx(pixels) + b"x", "more")):
        path.write_bytes(wrap(data))
        with pytest.raises(InputError, match=f"{words} bytes than its header states"):
            arrays.read_idx(path)


def test_a_cifar_folder_of_many_gigabytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write(tmp_path / "data_batch_1.bin", bytes(3073 * 2))
    monkeypatch.setattr(arrays, "_MAX_CIFAR_BYTES", 3073)
    with pytest.raises(InputError, match="6,146 bytes in the CIFAR layout"):
        listed(tmp_path)
    monkeypatch.undo()

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"cannot read .*Permission denied"):
        listed(tmp_path)


def raw_array(kind: str, shape: str, data: bytes) -> bytes:
    """An .npy file whose header says what it is told to."""
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + data


@pytest.mark.parametrize("kind", ["|S0", "<U0", "|V0", "|O"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "labels.npz"])
def test_arrays_of_kinds_that_have_no_bytes(kind: str, name: str, tmp_path: Path) -> None:
    write_array(tmp_path / name, raw_array(kind, "(2, 4, 4, 3)", b""))
    with pytest.raises(InputError, match=r"\.np[yz]") as error:
        listed(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", ["(True, 4, 4, 3)", "(-2, -4, 4, 3)", "(9999999999999999999999, 4, 4, 3)", "()", "(3,)"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "labels.npz"])
def test_arrays_of_shapes_that_are_none(shape: str, name: str, tmp_path: Path) -> None:
    write_array(tmp_path / name, raw_array("|u1", shape, bytes(96)))
    with pytest.raises(InputError, match=r"\.np[yz]") as error:
        listed(tmp_path / name)
    assert "\n" not in str(error.value)


def write_array(path: Path, data: bytes) -> None:
    if path.suffix == ".npy":
        made.write(path, data)
        return
    with zipfile.ZipFile(path, "w") as archive:
        if path.name.startswith("labels"):
            archive.writestr("images.npy", raw_array("|u1", "(2, 4, 4, 3)", bytes(96)))
        archive.writestr("labels.npy" if path.name.startswith("labels") else "images.npy", data)

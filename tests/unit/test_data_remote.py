"""Sources behind an address: copied once, fetched again when they have changed, and refused in one line."""

from __future__ import annotations

import builtins
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest

import made
from limner.core.address import public_address, public_text
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data import arrays, remote
from limner.data.options import DataOptions
from limner.data.prepare import check, check_source, prepare
from served import Endless, Site, cut_short, serve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    for name in system.ls("/", detail=False):
        system.rm(name, recursive=True)


def pets(root: Path, seed: int = 0) -> Path:
    return made.folder(root / "pets", {"cat": 6, "dog": 4}, first_seed=seed)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def copies(cache: Path) -> list[Path]:
    folder = cache / "sources"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def test_an_archive_over_http_is_copied_once_and_again_when_it_changes(tmp_path: Path, cache: Path) -> None:
    local = prepare(pets(tmp_path))
    with serve(**{"pets.zip": zipped(made.tree_bytes(tmp_path / "pets"))}) as site:
        address = f"{site.url}/pets.zip"
        report = check(address)
        assert (report.path, report.name, report.fingerprint) == (address, "pets", local.fingerprint)
        first = prepare(address)
        assert site.fetched.count("/pets.zip") >= 1
        assert [path.name for one in copies(cache) for path in one.iterdir()] == ["pets.zip"]
        assert (first.name, first.classes, first.manifest["source"]) == ("pets", ("cat", "dog"), address)
        assert first.fingerprint == local.fingerprint

        for copy in copies(cache):  # what was prepared is found without a copy
            (copy / "pets.zip").unlink()
            copy.rmdir()
        assert prepare(address).path == first.path
        assert copies(cache) == []

        site.files["/pets.zip"] = zipped(made.tree_bytes(pets(tmp_path / "other", seed=50)))
        assert prepare(address).fingerprint not in (first.fingerprint, None)
        assert prepare(f"{address}?token=7").images.shape[0] == 10


def test_a_download_is_told_in_mib_and_pictures_as_pictures(tmp_path: Path) -> None:
    files = made.tree_bytes(pets(tmp_path)) | {"padding.bin": bytes(3 * 2**20)}
    with serve(**{"pets.zip": zipped(files)}) as site:
        told: list[Progress] = []
        check_source(f"{site.url}/pets.zip", DataOptions(), on_progress=told.append)
        assert (told[0].what, told[0].done, told[0].total) == ("fetching pets.zip (MiB)", 1, 3)
        assert (told[-1].what, told[-1].done, told[-1].total) == ("preparing data", 10, 10)
        told.clear()
        prepare(f"{site.url}/pets.zip", on_progress=told.append)
        assert {(event.what, event.total) for event in told} == {("preparing data", 10)}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_folder_and_an_archive_by_fsspec(form: str, tmp_path: Path, cache: Path, memory: fsspec.AbstractFileSystem) -> None:
    files = made.tree_bytes(pets(tmp_path)) | {"readme.txt": b"hello", ".hidden/x.png": b"x"}
    if form == "zip":
        memory.pipe_file("/set/pets.zip", zipped(files))
        address = "memory://set/pets.zip"
    else:
        for name, data in files.items():
            memory.pipe_file(f"/set/pets/{name}", data)
        address = "memory://set/pets"
    local = prepare(tmp_path / "pets", split="0.2")
    far = prepare(address, split="0.2")
    assert (far.name, far.fingerprint, far.manifest["other_files"]) == ("pets", local.fingerprint, 1)
    assert len(copies(cache)) == 1
    assert prepare(address, split="0.2").path == far.path
    if form == "folder":
        memory.pipe_file("/set/pets/dog/more.png", made.encoded(made.textured(99)))
        assert len(prepare(address, split="0.2").images) == len(far.images) + 1
        assert len(copies(cache)) == 1  # the older copy goes when the new one is whole


def test_bare_arrays_come_with_their_labels(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 3
    files = {"a b images-idx3-ubyte": made.idx(images), "a b labels-idx1-ubyte": made.idx(labels)}
    for name, data in files.items():
        memory.pipe_file(f"/idx/{name}", data)
    folder = prepare("memory://idx", split="none")
    with serve(**{name.replace(" ", "%20"): data for name, data in files.items()}) as site:
        for address in ("memory://idx/a b images-idx3-ubyte", f"{site.url}/a%20b%20images-idx3-ubyte"):
            one = prepare(address, split="none")
            assert one.fingerprint == folder.fingerprint
            assert one.classes == ("0", "1", "2")


def test_a_file_address_is_its_path(tmp_path: Path, cache: Path) -> None:
    folder = pets(tmp_path / "a b")
    data = prepare(folder.as_uri())
    assert data.path == prepare(folder).path
    assert prepare(data.path.as_uri()).path == data.path  # prepared already
    assert copies(cache) == []
    with pytest.raises(InputError, match="names no file of this machine"):
        prepare("file://elsewhere/pets")


def test_names_that_lead_out_are_set_aside(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in archives: nothing is written outside the copy."""
    good = [made.encoded(made.textured(seed)) for seed in range(3)]
    content = {f"bucket/pets/{number}.png": data for number, data in enumerate(good)}
    content |= {"bucket/pets/../../evil.png": good[0], "bucket/pets/a/../../../evil.png": good[0], "/etc/evil.png": good[0]}
    system = SimpleNamespace(
        invalidate_cache=lambda: None,
        info=lambda place: {"type": "directory"},
        find=lambda place, detail: {name: {"size": len(data)} for name, data in content.items()},
        get=lambda places, paths: [Path(path).write_bytes(content[one]) for one, path in zip(places, paths, strict=True)],
    )
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: (system, "bucket/pets"))
    report = check("s3://bucket/pets")
    assert report.images == 3
    assert [one.reason for one in report.rejected] == ["its path leads out of the folder"] * 3
    assert not list(tmp_path.rglob("evil.png"))
    assert sorted(path.name for path in cache.rglob("*.png")) == ["0.png", "1.png", "2.png"]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.startswith("s3fs"):
            raise ImportError("No module named 's3fs'")
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"s3://bucket/pets needs a package that is not installed.*s3fs") as caught:
        prepare("s3://bucket/pets")
    assert "\n" not in str(caught.value)


def page(site: Site) -> None:
    site.headers["Content-Type"] = "text/html; charset=utf-8"


BAD = {
    "an unknown kind": ("htps://host/pets.zip", r"kind 'htps'.*did you mean 'https'"),
    "a kind that reads rules": ("reference://host/pets.zip", "kind 'reference', which is not opened here"),
    "a chain": ("memory://a.zip::file:///etc/passwd", "chains addresses"),
    "nothing there": ("memory://nowhere/pets", "there is nothing at memory://nowhere/pets"),
    "no archive": ("memory://set/pets.rar", "is one file, and of no kind that holds a set of pictures; give a folder"),
    "no such page": ("SITE/missing.zip", "404.*check the address"),
    "no name": ("memory://set/..", "does not end in a name"),
    "no name over http": ("SITE/", "does not end in a name"),
    "no archive over http": ("SITE/index.html", "is one file, and of no kind that holds a set of pictures; give a folder"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_is_one_line(fault: str, cache: Path, memory: fsspec.AbstractFileSystem) -> None:
    address, words = BAD[fault]
    memory.pipe_file("/set/pets.rar", b"x")
    with serve(**{"index.html": b"<html>"}) as site, pytest.raises(InputError, match=words) as caught:
        prepare(address.replace("SITE", site.url))
    assert "\n" not in str(caught.value)
    assert copies(cache) == []


def test_a_web_page_in_the_place_of_an_archive(cache: Path) -> None:
    with serve(**{"pets.zip": b"<html>sign in</html>"}) as site:
        page(site)
        with pytest.raises(InputError, match=r"is a web page and no pets\.zip"):
            prepare(f"{site.url}/pets.zip")
    assert copies(cache) == []


def test_what_is_too_large_is_refused_before_it_is_fetched(
    cache: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/set/pets.zip", bytes(5000))
    with serve(**{"pets.zip": bytes(5000)}) as site:
        for address in (f"{site.url}/pets.zip", "memory://set/pets.zip"):
            monkeypatch.setattr(remote, "MAX_BYTES", 4000)
            with pytest.raises(InputError, match="holds 5,000 bytes, more than the 4,000 of one source"):
                prepare(address)
            monkeypatch.setattr(remote, "MAX_BYTES", 2**38)
            with monkeypatch.context() as patch:
                patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
                with pytest.raises(InputError, match=r"has 10 left.*LIMNER_CACHE"):
                    prepare(address)
    assert copies(cache) == []


def test_an_answer_without_an_end_or_cut_short_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Endless()
    monkeypatch.setattr(remote, "MAX_BYTES", 2**22)
    with serve(**{"a.zip": endless, "b.zip": cut_short(b"PK")}) as site:
        with pytest.raises(InputError, match="sends more than the 4,194,304 bytes"):
            prepare(f"{site.url}/a.zip")
        with pytest.raises(InputError, match="2 bytes read"):
            prepare(f"{site.url}/b.zip")
    assert endless.sent < 2**26
    assert copies(cache) == []


def test_what_changes_while_it_is_copied_is_refused(
    tmp_path: Path, cache: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/set/pets.zip", zipped(made.tree_bytes(pets(tmp_path))))
    copy = remote.FilesystemPlace.copy

    def slow(self: remote.FilesystemPlace, *rest: object) -> None:
        copy(self, *rest)  # type: ignore[arg-type]
        memory.pipe_file("/set/pets.zip", zipped({"a.png": b"x"}))

    monkeypatch.setattr(remote.FilesystemPlace, "copy", slow)
    with pytest.raises(InputError, match="changed while it was copied"):
        prepare("memory://set/pets.zip")
    assert copies(cache) == []


def test_two_copies_at_once_are_one(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(**{"pets.zip": zipped(made.tree_bytes(pets(tmp_path)))}) as site:
        address, copy = f"{site.url}/pets.zip", remote.HttpPlace.copy
        inner: list[object] = []

        def twice(self: remote.HttpPlace, *rest: object) -> None:
            copy(self, *rest)  # type: ignore[arg-type]
            if not inner:
                inner.append(None)
                prepare(address)

        monkeypatch.setattr(remote.HttpPlace, "copy", twice)
        assert len(prepare(address).images) == 10
    assert len(copies(cache)) == 1


def answer_with(data: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer with these headers alone, underscores for dashes, that ends where the connection does."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def test_a_page_in_the_place_of_labels_is_no_labels() -> None:
    """Many servers answer with a page, and 200, where there is no file."""
    images = made.idx(np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8))
    page = answer_with(b"<html>not here</html>", Content_Type="text/html", ETag='"page"')
    with serve(**{"images-idx3-ubyte": images}) as site:
        for name in arrays.label_names("images-idx3-ubyte"):
            site.files[f"/{name}"] = page
        data = prepare(f"{site.url}/images-idx3-ubyte", split="none")
    assert (len(data.images), data.labels) == (20, None)


@pytest.mark.parametrize("said", ["many", "-5", "1e3"])
def test_a_length_that_is_no_number_is_unknown(said: str, tmp_path: Path) -> None:
    data = zipped(made.tree_bytes(pets(tmp_path)))
    with serve(**{"pets.zip": answer_with(data, Content_Length=said, ETag='"a"')}) as site:
        assert len(prepare(f"{site.url}/pets.zip").images) == 10


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return buffer.getvalue()


def test_an_archive_of_unknown_length_that_is_cut_is_refused(tmp_path: Path, cache: Path) -> None:
    files = made.tree_bytes(pets(tmp_path))
    whole, first = tarred(files), tarred(dict(list(files.items())[:5]))
    cut = first.rstrip(b"\0")
    cut = whole[: -(-len(cut) // 512) * 512]  # between two of its files, where a tar shows nothing
    zip_file = zipped(files)
    with serve() as site:
        for name, data in {"a.tar": cut, "b.zip": zip_file[:-100], "c.tar": whole, "d.zip": zip_file}.items():
            site.files[f"/{name}"] = answer_with(data, ETag='"a"')
        for name in ("a.tar", "b.zip"):
            with pytest.raises(InputError, match=r"whole \(.* (lacks its end|cannot be opened)\); try again"):
                prepare(f"{site.url}/{name}")
        assert copies(cache) == []
        assert {len(prepare(f"{site.url}/{name}").images) for name in ("c.tar", "d.zip")} == {10}


def test_files_of_unknown_size_are_bounded(
    tmp_path: Path, cache: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in made.tree_bytes(pets(tmp_path)).items():
        memory.pipe_file(f"/set/pets/{name}", data)
    describe = remote._described

    def unsaid(name: str, place: str, about: dict[str, object]) -> remote.RemoteFile:
        return describe(name, place, about if name.endswith("0.png") else {**about, "size": None})

    monkeypatch.setattr(remote, "_described", unsaid)
    with monkeypatch.context() as patch:
        patch.setattr(remote, "MAX_BYTES", 4000)
        with pytest.raises(InputError, match="gives more than"):
            prepare("memory://set/pets")
    assert copies(cache) == []
    assert len(prepare("memory://set/pets").images) == 10


def test_older_copies_of_an_address_go_and_others_stay(tmp_path: Path, cache: Path) -> None:
    with serve(**{name: zipped(made.tree_bytes(pets(tmp_path / name))) for name in ("a.zip", "b.zip")}) as site:
        for name in ("a.zip", "b.zip"):
            prepare(f"{site.url}/{name}")
        before = copies(cache)
        site.files["/a.zip"] = zipped(made.tree_bytes(pets(tmp_path / "new", seed=50)))
        prepare(f"{site.url}/a.zip")
    after = copies(cache)
    assert (len(before), len(after), len({*before} & {*after})) == (2, 2, 1)


def test_a_damaged_copy_is_fetched_anew(tmp_path: Path, cache: Path) -> None:
    with serve(**{"pets.zip": zipped(made.tree_bytes(pets(tmp_path)))}) as site:
        first = prepare(f"{site.url}/pets.zip")
        (copy,) = copies(cache)
        whole = (copy / "pets.zip").read_bytes()
        wrong = zipped(made.tree_bytes(pets(tmp_path / "other", seed=50)))
        (copy / "pets.zip").write_bytes(wrong)  # an archive that opens, and holds something else
        events: list[Progress] = []
        again = prepare(f"{site.url}/pets.zip", seed=1, split="none", on_progress=events.append)
        assert "is damaged; it is fetched anew" in events[0].note
        assert (copy / "pets.zip").read_bytes() == whole
    everything = [np.sort(one.images.gather(np.arange(10)).reshape(10, -1), axis=0) for one in (first, again)]
    assert (everything[0] == everything[1]).all()


def test_memory_is_no_kind_that_a_person_is_told_of() -> None:
    for address in ("memori://host/a.zip", "xyz://host/a.zip"):
        with pytest.raises(InputError) as caught:
            prepare(address)
        assert "memory" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("https://user:word@host:81/a/b.zip?key=1#x", "https://host:81/a/b.zip"),
        ("s3://key:word@bucket/folder", "s3://bucket/folder"),
        ("https://host?key=1", "https://host"),
        ("memory://a.zip::https://user:word@host/b.zip?key=1", "memory://a.zip::https://host/b.zip"),
        ("https://user:word@host/a://b", "https://host/a://b"),
        ("s3://key:wo/rd@bucket/folder", "s3://…"),
        ("http://[::1]:80/a.zip?key=1", "http://[::1]:80/a.zip"),
        ("a folder/b?c#d@e", "a folder/b?c#d@e"),
        ("mnist", "mnist"),
    ],
)
def test_what_of_an_address_is_public(address: str, public: str) -> None:
    assert public_address(address) == public


def test_secrets_go_from_texts_that_name_an_address_by_its_parts() -> None:
    text = "Max retries exceeded with url: /a.zip?key=1234 (https://elsewhere/b?key=5)"
    shown = public_text(text, "https://user:word@host/a.zip?key=1234")
    assert shown == "Max retries exceeded with url: /a.zip?… (https://elsewhere/b"

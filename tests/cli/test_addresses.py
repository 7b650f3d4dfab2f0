"""Runs whose pictures lie behind an address: nothing secret leaves with them, and they go on without the server."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import made
from limner import load, resume
from limner.cli import main
from limner.core.errors import InputError
from limner.core.progress import Progress
from limner.data.options import DataOptions
from limner.data.prepare import prepare, prepare_source
from served import Site, serve

SMALL = ["batch.size=8", "score.points=0", "previews.count=4"]
USER, WORD = "somebody", "pa55word"
SIGNATURE = "5ecret" * 60  # longer than the name of a file may be, as that of a temporary key is


def archive(root: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in made.tree_bytes(made.folder(root / "pets", {"cat": 8, "dog": 8})).items():
            target.writestr(name, data)
    return buffer.getvalue()


def secret(site: Site, name: str = "pets.zip") -> str:
    return f"{site.url.replace('://', f'://{USER}:{WORD}@')}/{name}?X-Amz-Signature={SIGNATURE}#{SIGNATURE}"


def shows_secrets(data: bytes) -> bool:
    return any(text.encode() in data for text in (USER, WORD, SIGNATURE))


def limner(*words: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"LIMNER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limner", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False)


def test_only_the_recipe_holds_the_secrets_of_an_address(tmp_path: Path) -> None:
    with serve(**{"pets.zip": archive(tmp_path)}) as site:
        train = ["train", secret(site), "--preset", "gan", "--images", "16", "--seed", "0", *SMALL]
        done = limner(*train, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        run = next((tmp_path / "runs").iterdir())
        drawn = limner("sample", str(run), "--seeds", "0-1", "--out", "drawn", folder=tmp_path)
        assert drawn.returncode == 0, drawn.stderr
        checked = limner("data", "check", secret(site), "--json", folder=tmp_path)
        assert checked.returncode == 0, checked.stderr
        missing = limner("data", "check", secret(site, "none.zip"), folder=tmp_path)
        assert missing.returncode == 2
        rars = [limner("train", secret(site, name), folder=tmp_path) for name in ("a.rar", "")]
    gone = limner("train", secret(site, "b.zip"), folder=tmp_path)
    for ended in (done, drawn, checked, missing, gone, *rars):
        assert not shows_secrets(ended.stdout + ended.stderr)
    assert shows_secrets((run / "recipe.yaml").read_bytes())  # `resume` needs it
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != run / "recipe.yaml"]
    assert any(path.suffix == ".safetensors" for path in files)
    assert any(path.parent.name == "drawn" for path in files)
    assert [path for path in files if shows_secrets(path.read_bytes()) or shows_secrets(path.name.encode())] == []
    public = f"{site.url}/pets.zip"
    assert public in (run / "report.html").read_text()
    assert public in json.loads((run / "provenance.json").read_text())["command"]
    manifests = list((tmp_path / "cache" / "data").glob("*/manifest.json"))
    assert [json.loads(path.read_text())["source"] for path in manifests] == [public]
    assert limner("report", str(run), folder=tmp_path).returncode == 0
    assert not shows_secrets((run / "report.html").read_bytes())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_run_goes_on_while_the_server_is_away(cache: Path, tmp_path: Path) -> None:
    with serve(**{"pets.zip": archive(tmp_path)}) as site:
        address = f"{site.url}/pets.zip"
        assert main(["train", address, "--preset", "gan", "--images", "16", *SMALL]) == 0
    run = next((tmp_path / "runs").iterdir())
    shutil.rmtree(cache / "sources")  # not even a copy is needed
    assert resume(run, images=32).images == 32
    assert load(run).dataset().fingerprint == load(run).recipe.data.fingerprint
    shutil.rmtree(cache / "data")
    with pytest.raises(InputError, match="check the address and the network"):
        resume(run, images=48)


def test_another_fingerprint_or_other_options_ask_the_server(cache: Path, tmp_path: Path) -> None:
    with serve(**{"pets.zip": archive(tmp_path)}) as site:
        address = f"{site.url}/pets.zip"
        made_before = prepare(address)
        site.asked.clear()
        same = prepare_source(address, DataOptions(), fingerprint=made_before.fingerprint)
        assert (same.path, site.asked) == (made_before.path, [])
        assert prepare_source(address, DataOptions(), fingerprint="other").path == made_before.path
        assert site.asked
        site.asked.clear()
        padded = prepare_source(address, DataOptions(fit="pad"), fingerprint=made_before.fingerprint)
        assert padded.path != made_before.path
        assert site.asked


def test_the_newest_copy_stands_in_for_a_server_that_is_away(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(**{"pets.zip": archive(tmp_path)}) as site:
        address = f"{site.url}/pets.zip"
        before = prepare(address)
    events: list[Progress] = []
    assert prepare_source(address, DataOptions(), tell=events.append).path == before.path
    assert [("newest copy" in event.note, "\n" in event.note) for event in events] == [(True, False)]
    capsys.readouterr()
    assert main(["data", "prepare", address, "--size", "16"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("going on with the newest copy in the cache" in line for line in lines) == 1
    with pytest.raises(InputError, match="check the address and the network"):
        prepare(f"{site.url}/other.zip")

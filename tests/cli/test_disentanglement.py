"""`evaluate --metrics disentanglement` on a run that knows one-object scenes: answer, file and table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from limner.cli import main
from limner.data.scenes import FACTORS
from limner.evaluation import model_scores

SETTINGS = ["batch.size=32", "score.points=0", "previews.count=4", "method.width=4", "method.latent=5", "method.components=2"]


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    data = ["data.size=16", "data.limit=300", f"data.channels={request.param}"]
    assert main(["train", "scenes-1", "--preset", "vae", "--images", "640", "--out", str(out), *SETTINGS, *data]) == 0
    return next(out.iterdir())


def answered(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_scores_of_a_run(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_scores, "SCENE_COUNT", 15_000)
    answer = answered(capsys, "evaluate", run, "--metrics", "mig,factor_vae,sap")
    assert list(answer["metrics"]) == ["factor_vae", "mig", "sap"]
    for one in answer["metrics"].values():
        assert 0 <= one["value"] <= 1
        assert one["null"] < 0.2
    assert list(answer["factors"]) == list(FACTORS)
    assert answer["metrics"]["mig"]["value"] == pytest.approx(sum(one["mig"] for one in answer["factors"].values()) / 7)
    assert answer["report"].endswith("disentanglement.json")
    assert json.loads(Path(answer["report"]).read_text())["metrics"] == answer["metrics"]
    again = answered(capsys, "evaluate", run, "--metrics", "mig")
    assert again["metrics"]["mig"] == answer["metrics"]["mig"], "the same scenes every time"
    both = answered(capsys, "evaluate", run, "--metrics", "mig,psnr,ssim", "--count", "64", "--features", "pixels")
    assert set(both["metrics"]) == {"mig", "psnr", "ssim"}
    assert both["metrics"]["mig"] == answer["metrics"]["mig"]
    assert 0 < both["metrics"]["ssim"]["value"] < 1


def test_for_a_person(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_scores, "SCENE_COUNT", 15_000)
    assert main(["evaluate", str(run), "--metrics", "mig"]) == 0
    out = capsys.readouterr().out
    assert "rotation" in out
    assert "15,000 scenes of one object" in out
    assert "None" not in out

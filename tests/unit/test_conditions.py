"""Conditions on their way: in the batches of training, and drawn by seed where nobody requests any."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import made
from limner.core import seeds
from limner.core.cond import Cond
from limner.core.config import ConditionKind
from limner.core.errors import InputError
from limner.core.images import to_tensor
from limner.core.text import Captions, decode_captions, encode_captions
from limner.data.conditions import Conditions, pick_captions
from limner.data.dataset import Dataset
from limner.data.feed import Feed
from limner.data.prepare import prepare
from limner.runs.run import Run

CPU = torch.device("cpu")
ALL: Set[ConditionKind] = {"label", "text", "image"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """40 pictures in two classes, each with a caption and a given picture of one channel; 8 are held out."""
    root = made.paired(tmp_path_factory.mktemp("pairs"), 40, given_channels=1, side=8)
    table = root / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    table.write_text("\n".join(json.dumps(row | {"label": "ab"[n % 2]}) for n, row in enumerate(rows)))
    return prepare(root, split="0.2")


def text_of(dataset: Dataset, row: int) -> str:
    assert dataset.captions is not None
    return dataset.captions[row]


def given_of(dataset: Dataset, rows: np.ndarray) -> Tensor:
    assert dataset.given_images is not None
    return to_tensor(dataset.given_images.gather(rows))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("accepts", [frozenset(), {"label"}, {"text"}, {"label", "image"}, ALL])
def test_a_batch_brings_what_is_accepted_and_draws_as_ever(pairs: Dataset, mirror: bool, accepts: Set[ConditionKind]) -> None:
    """Pictures, labels and random numbers are the same bits whatever else a batch brings, so that runs of before resume."""
    feed = Feed(pairs, "train", CPU, 3, mirror, accepts)
    for start in (0, 16, 48):
        torch.manual_seed(start)
        batch = feed.draw(1, start, 16)
        after = torch.rand(3)
        torch.manual_seed(start)
        rows = pairs.indices("train")[seeds.order(3, 1, start, 16, len(feed))]
        pixels = to_tensor(pairs.images.gather(rows))
        given = given_of(pairs, rows)
        if mirror:
            flipped = torch.rand(16) < 0.5
            assert 0 < int(flipped.sum()) < 16
            pixels[flipped], given[flipped] = pixels.flip(3)[flipped], given.flip(3)[flipped]
        assert torch.equal(batch.images, pixels)
        assert torch.equal(torch.rand(3), after)
        cond = batch.cond
        assert (cond.label is not None, cond.text is not None, cond.image is not None) == (
            "label" in accepts,
            "text" in accepts,
            "image" in accepts,
        )
        assert pairs.labels is not None
        assert cond.label is None or cond.label.tolist() == pairs.labels[rows].tolist()
        assert cond.image is None or torch.equal(cond.image, given)
        if cond.text is not None:
            assert cond.text.dtype == torch.int64
            assert decode_captions(cond.text.numpy()) == [text_of(pairs, row) for row in rows]


@pytest.mark.parametrize("mirror", [False, True])
def test_a_feed_is_the_set_of_all_pictures_that_it_draws(pairs: Dataset, mirror: bool) -> None:
    """Each once, mirrored ones after the others; what belongs to a picture comes with it."""
    feed = Feed(pairs, "train", CPU, 3, mirror, ALL)
    rows = np.tile(pairs.indices("train"), 2 if mirror else 1)
    assert feed.count == len(rows) == (64 if mirror else 32)
    assert feed.labels is not None
    assert pairs.labels is not None
    assert feed.labels.tolist() == pairs.labels[rows].tolist()
    batch, pixels, given = feed.take(torch.arange(feed.count)), to_tensor(pairs.images.gather(rows)), given_of(pairs, rows)
    pixels[32:], given[32:] = pixels[32:].flip(3), given[32:].flip(3)
    assert torch.equal(batch.images, pixels)
    assert batch.cond.image is not None
    assert torch.equal(batch.cond.image, given)
    assert batch.cond.text is not None
    assert decode_captions(batch.cond.text.numpy()) == [text_of(pairs, row) for row in rows]
    assert batch.cond.label is not None
    assert torch.equal(batch.cond.label, feed.labels)
    assert torch.equal(feed.take(torch.tensor([5, 1])).images, pixels[[5, 1]])
    assert batch.pictures is feed.draw(1, 0, 4).pictures is feed
    feed.accept(set())
    assert feed.labels is None


def test_what_a_set_lacks_is_not_brought() -> None:
    """Labels alone come by default; who accepts more than there is gets what there is."""
    digits = Feed(prepare("digits"), "train", CPU, 0, accepts=ALL).draw(0, 0, 4).cond
    assert (digits.text, digits.image) == (None, None)
    assert digits.label is not None
    scenes = prepare("scenes", size=16, limit=40)
    assert Feed(scenes, "train", CPU, 0).draw(0, 0, 4).cond.text is None
    feed = Feed(scenes, "train", CPU, 0, accepts={"text"})
    assert feed.draw(0, 0, 4).cond.text is not None
    feed.accept({"label"})
    assert feed.draw(0, 0, 4).cond.text is None


@pytest.mark.parametrize("split", ["val", "train", None])
def test_one_real_picture_lends_all_its_conditions(pairs: Dataset, split: str | None) -> None:
    """Caption, class and given picture of a draw belong together, and come from the judged split."""
    cond = Conditions(pairs, split).draw(range(100, 150), ALL)
    assert cond.label is not None
    assert cond.text is not None
    assert cond.image is not None
    rows = pairs.indices(split or "val")
    of = {text_of(pairs, row): row for row in rows}
    chosen = np.array([of[text] for text in decode_captions(cond.text.numpy())])
    assert torch.equal(cond.image, given_of(pairs, chosen))
    assert pairs.labels is not None
    assert cond.label.tolist() == pairs.labels[chosen].tolist()
    assert len(set(chosen.tolist())) > min(6, len(rows) - 1), "seeds draw different ones"


def test_a_condition_depends_on_its_seed_alone(pairs: Dataset) -> None:
    conditions = Conditions(pairs)
    together, again = conditions.draw([7, 3, 9, 7], ALL), Conditions(pairs).draw([3], ALL)
    for many, one in ((together.label, again.label), (together.text, again.text), (together.image, again.image)):
        assert many is not None
        assert one is not None
        assert torch.equal(many[1:2], one)
        assert torch.equal(many[0], many[3])


def test_captions_are_those_of_training_pictures(pairs: Dataset) -> None:
    """Without a given picture there is no need for the judged split, whose words a model need not know."""
    text = Conditions(pairs).draw(range(500), {"text"}).text
    assert text is not None
    assert set(decode_captions(text.numpy())) == {text_of(pairs, row) for row in pairs.indices("train")}


def test_nothing_is_drawn_for_who_takes_labels_alone(pairs: Dataset) -> None:
    requested = Cond(label=torch.tensor([1, 0]))
    assert Conditions(pairs).draw([1, 2], {"label"}) == Cond()
    assert Conditions(pairs).draw([1, 2], {"label"}, requested) is requested
    assert Conditions(prepare("digits")).draw([1, 2], ALL) == Cond()
    assert Conditions(None).draw([1, 2], ALL) == Cond()


def test_what_is_requested_stays(pairs: Dataset) -> None:
    """And what is drawn beside a class is of that class."""
    conditions = Conditions(pairs)
    own = Cond(torch.tensor([1, 0, -1, 1]), image=torch.zeros(4, 1, 8, 8))
    cond = conditions.draw([1, 2, 3, 4], ALL, own)
    assert cond.image is own.image
    assert cond.label is not None
    assert cond.text is not None
    assert pairs.labels is not None
    of = {text_of(pairs, row): int(pairs.labels[row]) for row in pairs.indices("train")}
    assert [of[text] for text in decode_captions(cond.text.numpy())] == cond.label.tolist()
    assert [cond.label.tolist()[place] for place in (0, 1, 3)] == [1, 0, 1]
    alone = conditions.draw([1, 2], {"text"}, Cond(text=torch.ones(2, 3, dtype=torch.int64)))
    assert alone.text is not None
    assert alone.text.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert alone.label is None


def test_pictures_without_a_caption_lend_none(tmp_path: Path) -> None:
    root = made.folder(tmp_path, {"a": 30})
    rows = [{"file_name": f"a/{n:03d}.png", "text": "the only one" if n == 4 else ""} for n in range(30)]
    made.write(root / "metadata.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    data = prepare(root, split="none")
    text = Conditions(data).draw(range(20), {"text"}).text
    assert text is not None
    assert set(decode_captions(text.numpy())) == {"the only one"}
    picked = pick_captions(data, 0)
    assert picked is not None
    assert picked.texts == ("the only one",)


def test_a_run_keeps_some_captions(pairs: Dataset, tmp_path: Path) -> None:
    """Enough to draw a caption without the data: the same one as in the run's previews, and its class with it."""
    one, same, other = (pick_captions(pairs, seed, 10) for seed in (0, 0, 1))
    assert one is not None
    assert one == same != other
    training = {text_of(pairs, row) for row in pairs.indices("train")}
    assert len(set(one.texts)) == 10
    assert set(one.texts) <= training
    run = Run(tmp_path)
    assert run.captions() is None
    run.write_captions(one)
    assert run.captions() == one
    without, previews = Conditions(None, captions=run.captions()), Conditions(pairs, captions=run.captions())
    cond, same_cond = (each.draw(range(30), {"label", "text"}) for each in (without, previews))
    assert cond.text is not None
    assert same_cond.text is not None
    assert torch.equal(cond.text, same_cond.text)
    assert cond.text.shape[1] == pairs.caption_length
    assert cond.label is not None
    classes = dict(zip(one.texts, one.labels or (), strict=True))
    assert [classes[text] for text in decode_captions(cond.text.numpy())] == cond.label.tolist()
    (tmp_path / "captions.json").write_text('{"texts": 3}')
    with pytest.raises(InputError, match="damaged"):
        run.captions()
    assert pick_captions(prepare("digits"), 0) is None


def test_captions_of_other_data_are_as_long_as_the_method_reads(pairs: Dataset) -> None:
    longer = Conditions(pairs, caption_length=20).draw([0], {"text"}).text
    shorter = Conditions(None, captions=Captions(("a long one",), 10), caption_length=4).draw([0], {"text"}).text
    assert longer is not None
    assert shorter is not None
    assert longer.shape == (1, 20)
    assert shorter.tolist() == encode_captions(["a lo"], 4).tolist()


def test_conditions_move_together() -> None:
    cond = Cond(torch.tensor([1]), image=torch.zeros(1, 1, 2, 2)).to(torch.device("meta"))
    assert cond.label is not None
    assert cond.image is not None
    assert cond.label.device.type == cond.image.device.type == "meta"
    assert cond.text is None

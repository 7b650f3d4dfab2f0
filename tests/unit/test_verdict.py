"""The verdict in words: six kinds of pictures, what is advised, and nothing where nothing was measured."""

from __future__ import annotations

from typing import Any

import pytest

from limner.evaluation.verdict import TrainingProgress, verdict


def score(value: float, null: float | None, p: float | None = 0.1) -> dict[str, Any]:
    return {"value": value, "error": None, "null": null, "z": None, "p": p}


def report(relative: float, coverage: float = 0.9, copies: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "metrics": {
            "frechet": score(100 * relative + 0.3, 0.3),
            "coverage": score(coverage, 0.95),
            "copies": score(copies, 0.0, 1e-9 if copies else 1.0),
            "class_distance": score(0.02, 0.02),
        },
        "views": {
            "judge": {"value": 100 * relative + 0.3, "null": 0.3, "z": 9.0, "relative": relative},
            "pixels": {"value": 0.1, "null": 0.1, "z": 0.0, "relative": 0.0},
        },
        "features": {"held_out_accuracy": 0.91},
        "count": 5_000,
        "reference": {"count": 1_000},
        **more,
    }


def falling(exponent: float) -> TrainingProgress | None:
    rows = [{"images": n, "seconds": n / 10, "frechet": 50 * n**-exponent + 0.3, "null": 0.3} for n in (1000, 2000, 4000, 8000)]
    return TrainingProgress.of("runs/0001", rows)


@pytest.mark.parametrize(
    ("relative", "words"),
    [(0.004, "Very near"), (0.03, "Near: faults"), (0.15, "Recognisable, but"), (0.9, "Far: taken together they are not like")],
)
def test_nearness_is_said_in_four_steps_with_its_numbers(relative: float, words: str) -> None:
    first = verdict(report(relative))[0]
    assert first.startswith(words)
    assert first.endswith(f"(judge: {100 * relative + 0.3:.3g}; real pictures get 0.3).")


def test_the_view_that_sees_most_speaks() -> None:
    views = {
        name: {"value": 1.0, "null": 0.1, "z": 9.0, "relative": share} for name, share in (("judge", 0.001), ("pixels", 0.5))
    }
    assert verdict(report(0.001, views=views))[0] == (
        "Far: taken together they are not like the real pictures, and not worth keeping, above all in layout and colour "
        "(pixels: 1; real pictures get 0.1)."
    )


def test_a_view_that_cannot_tell_does_not_speak() -> None:
    """Of few pictures any distance may be chance."""
    chance = {"value": 16.0, "null": 10.2, "z": 1.1, "relative": 0.011, "noise": 0.01}
    seen = {"value": 1.0, "null": 0.3, "z": 8.0, "relative": 0.02}
    assert verdict(report(0.0, views={"judge": seen, "contrast": chance}))[0].startswith("Near: faults")
    assert verdict(report(0.0, views={"contrast": chance}, count=60), falling(0.5))[::3] == [
        "Very near: these 60 pictures cannot be told from real ones (contrast: 16; real pictures get 10.2).",
        "Next: nothing; they are worth having.",
    ]


def test_too_few_pictures_are_no_praise() -> None:
    """Five pictures of noise "cannot be told from real ones … they are worth having": no view could tell anything."""
    views = {
        "judge": {"value": 269.0, "null": 126.0, "z": 2.9, "relative": 0.6, "noise": 0.2},
        "pixels": {"value": 0.1, "null": 0.1, "z": 0.1, "relative": 0.0, "noise": 0.001},
    }
    words = "Too few to say: with 5 pictures chance hides even faults that people see at first sight; judge more of them"
    sentences = verdict(report(0.0, views=views, count=5, features={"held_out_accuracy": 0.6}), falling(0.5))
    assert sentences == [f"{words}, such as 1,000.", "Copies of training pictures: none were found."]
    copied = verdict(report(0.0, views=views, count=5, copies=0.4))
    assert [one.partition(":")[0] for one in copied] == ["Copies", "Too few to say"]
    assert "compare them with more real ones" in verdict(report(0.0, views=views, count=1000))[0]
    # One view of what is shown that would see such faults is enough, and one that tells speaks in any case.
    views["contrast"] = {"value": 3.0, "null": 2.9, "z": 1.0, "relative": 0.01, "noise": 0.01}
    assert verdict(report(0.0, views=views, count=300))[0].startswith("Very near: these 300 pictures")
    views["judge"]["z"] = 5.0
    assert verdict(report(0.0, views=views, count=5))[0].startswith("Far")


def test_variety_copies_and_classes() -> None:
    assert verdict(report(0.004))[1] == "Variety: about as varied as real pictures."
    assert "their coverage is only 21% of what real pictures have" in verdict(report(0.2, coverage=0.2))[1]
    copied = verdict(report(0.001, copies=0.4), falling(0.5))
    assert copied[0] == "Copies: 40.0% are nearly identical to a training picture, so do not keep these as new ones."
    assert "augment.kind=adaptive" in copied[-1]
    uneven = report(0.004, classes={"samples": {"bag": 0.5, "shirt": 0.02}, "real": {"bag": 0.1, "shirt": 0.12}})
    uneven["metrics"]["class_distance"] = score(0.4, 0.02)
    assert "the shares of the classes are uneven (shirt 2%, of real pictures 12%)" in verdict(uneven)[1]


def test_few_kinds_of_pictures_are_no_praise() -> None:
    """Samples that lie close together among real ones have a precision near 1, and read as good."""
    narrow = report(0.2)
    narrow["metrics"] |= {"precision": score(0.97, 0.8), "recall": score(0.02, 0.8)}
    words = (
        "few kinds of pictures: most are like some real picture (precision 0.97), but 98% of real pictures have nothing "
        "like them here (recall 0.02)"
    )
    assert verdict(narrow)[1] == f"Variety: {words}."
    narrow["metrics"]["coverage"] = score(0.2, 0.95)
    assert verdict(narrow)[1] == f"Variety: {words}; little varied: their coverage is only 21% of what real pictures have."
    for precision, recall in ((0.97, 0.5), (0.4, 0.02)):  # varied; or not among the real pictures at all, as blurred ones
        narrow["metrics"] |= {"precision": score(precision, 0.8), "recall": score(recall, 0.8)}
        assert "few kinds" not in verdict(narrow)[1]


def test_what_chance_may_have_done_is_not_said() -> None:
    """Five pictures of ten classes leave five classes out, whoever draws them: "shirt 0%" said nothing."""
    classes = {"samples": {"bag": 0.6, "shirt": 0.0}, "real": {"bag": 0.4, "shirt": 0.1}}
    few = report(0.9, coverage=0.01, classes=classes, count=5)

    def variety(**scores: tuple[float, float, float | None]) -> list[str]:
        few["metrics"] |= {name: score(value, null) | {"z": z} for name, (value, null, z) in scores.items()}
        return [one for one in verdict(few) if one.startswith("Variety")]

    assert variety(coverage=(0.01, 0.05, -2.0), class_distance=(0.6, 0.4, 1.5)) == []
    assert variety(coverage=(0.05, 0.05, -0.1)) == ["Variety: about as varied as real pictures."]
    # A deviation of .02 in the null: half of .05 would not have been told from it.
    assert variety(coverage=(0.048, 0.05, -0.1)) == []
    narrow = {"precision": (1.0, 0.8, 0.5), "recall": (0.0, 0.1, -2.0)}
    assert variety(**narrow) == []
    (words,) = variety(recall=(0.0, 0.1, -5.0))
    assert words.startswith("Variety: few kinds of pictures: most are like some real picture (precision 1), but 100% of real")
    del few["metrics"]["recall"]
    # That the shares are uneven is beyond chance, but not for this class: 0 of 5 where 0.5 are expected.
    assert variety(class_distance=(0.9, 0.4, 6.0)) == ["Variety: the shares of the classes are uneven."]
    few["count"] = 1_000  # sqrt(.1 · .9 · (1/1000 + 1/1000)) = .0134, four times of which is .054
    named = "Variety: the shares of the classes are uneven (shirt 0%, of real pictures 10%)."
    assert variety() == [named]
    for share, is_named in ((0.045, True), (0.047, False)):
        classes["samples"]["shirt"] = share
        assert (variety() != ["Variety: the shares of the classes are uneven."]) == is_named, share


def test_what_to_do_next_follows_from_how_the_distance_fell() -> None:
    improving = verdict(report(0.2), falling(1.0))[-1]
    assert "it still improves; `limner resume runs/0001 --images 16000` (about 13 min more)" in improving
    assert improving.endswith("about 50% of this one.")
    assert "hardly improves any more, and they are not worth having yet" in verdict(report(0.2), falling(0.05))[-1]
    assert "hardly improves any more, and they are worth having" in verdict(report(0.03), falling(0.05))[-1]
    assert verdict(report(0.003), falling(1.0))[-1] == "Next: nothing; they are worth having."
    few = TrainingProgress.of("r", [{"images": 5, "seconds": 1.0, "frechet": 3.0}])
    assert "too few scores to foresee" in verdict(report(0.2), few)[-1]
    assert TrainingProgress.of("r", []) is None


def test_a_weak_judge_is_said_to_flatter_where_it_praises() -> None:
    weak = {"held_out_accuracy": 0.73}
    assert "names only 73% of real pictures right and may flatter" in verdict(report(0.003, features=weak))[-1]
    assert all("flatter" not in one for one in verdict(report(0.5, features=weak)))


def test_a_report_without_a_distance_has_no_verdict() -> None:
    assert verdict({"metrics": {"psnr": score(30.0, None)}, "features": None}) == []

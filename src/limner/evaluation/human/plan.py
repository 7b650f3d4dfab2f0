"""Making a study: which pictures, which trials and in which order, all from one seed; then the page, and the key beside it.

Each person is given one of `forms.FORMS` forms, at random.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.errors import InputError, nearest
from limner.core.files import atomic_folder, make_folder, os_errors_as_input_errors, slug
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, silent
from limner.core.seeds import fold
from limner.data.npz import Pixels
from limner.evaluation.human.forms import (
    FORMS,
    PRACTICE_PAIRS,
    PRACTICE_TRIALS,
    BlindNames,
    StudyPart,
    estimate_minutes,
    make_form,
    study_parts,
)
from limner.evaluation.human.page import PracticeTrials, render_study_page
from limner.evaluation.human.pictures import (
    PictureSource,
    encode_png,
    make_masks,
    noise_pictures,
    open_sources,
    real_source,
    study_generator,
)
from limner.evaluation.human.rate import StudyResult
from limner.evaluation.human.records import (
    ANSWERS_FOLDER,
    KEY_FILE,
    PAGE_FILE,
    TASKS,
    ComparedSource,
    Picture,
    RealPictures,
    StudyKey,
)
from limner.evaluation.human.study_types import PartRow, Task

SPREAD = 3
"""Pictures in a study for each one that a person sees: people see different ones, so that conclusions rest on more of them."""
EXAMPLES = 8
"""Real pictures on the first screen."""
MAX_TRIALS = 600
"""Of one person."""
MAX_PAGE_BYTES = 64 << 20
"""A larger page does not open well on a phone."""
MAX_SEED = 10**6
NOT_HELD_OUT = "nothing of {} was held out: the real pictures are those of training, and a run that copied them would look real"


@dataclass(frozen=True)
class StudySettings:
    """What a person may choose about a study."""

    count: int = 15
    """Pictures of each run that a person judges in each part, 1 to 200."""
    tasks: Sequence[str] | None = None
    """Of `TASKS`; None: all that are possible."""
    exposure: int = 500
    """Milliseconds for which a timed picture is visible, 50 to 5000."""
    checkpoint: str = "last"
    """Of every run: ``last``, ``best`` or a number of images."""
    seed: int = 0
    """Decides the pictures and their order, below `MAX_SEED`."""


def plan_study(
    words: Sequence[str | Path],
    settings: StudySettings,
    *,
    data: str | None = None,
    out: Path | None = None,
    on_progress: OnProgress = silent,
) -> StudyResult:
    """Makes the folder of a study that compares `words` (runs, folders of pictures, .npz files), and describes it.

    ``study.html`` is for people, ``key.json`` is not; the folder ``answers`` is where answers go. `data` is where the real
    pictures come from (None: the data of the runs), `out` the folder (None: a new one in ``studies``).

    Errors: `InputError` for settings out of range, sources that cannot be compared or have too few pictures, or a folder that
    exists already.
    """
    tasks, seed, count = _check_settings(words, settings), settings.seed, settings.count
    sources, dataset = open_sources(words, data, settings.checkpoint, seed)
    parts = study_parts(tasks, len(sources), count)
    trials = sum(part.trials + part.catch for part in parts)
    if trials > MAX_TRIALS:
        raise InputError(
            f"one person would have to judge {trials} times, more than {MAX_TRIALS}; give a smaller {option('count')}"
        )
    folder = _new_folder(out, dataset.name)
    real, reals = real_source(dataset, seed)
    images = _draw_pictures(sources, real, parts, seed, on_progress)
    study = _study_id(settings, tasks, reals, [source.record for source in sources])
    names, pictures, files = _assign_names(images, seed, study)
    forms = [list(make_form(parts, names, len(sources), seed, number)) for number in range(FORMS)]
    key = StudyKey(
        study=study,
        seed=seed,
        count=count,
        tasks=tasks,
        exposure=settings.exposure,
        runs=[source.record for source in sources],
        reals=reals,
        pictures=pictures,
        forms=forms,
    )
    masks, examples = ([encode_png(one) for one in group] for group in (images.masks, images.examples))
    text = render_study_page(key, estimate_minutes(parts), files, masks, examples, images.practice)
    with atomic_folder(folder) as temporary:
        (temporary / PAGE_FILE).write_text(text, encoding="utf-8")
        key.write(temporary)
        (temporary / ANSWERS_FOLDER).mkdir()
    description = describe_study(folder, key, megabytes=round(len(text) / 1e6, 1))
    about_files = [text for source in (*sources, real) for text in source.remarks]
    return description.model_copy(update={"warnings": [*description.warnings, *about_files]})


def _study_id(settings: StudySettings, tasks: Sequence[Task], reals: RealPictures, runs: Sequence[ComparedSource]) -> str:
    """16 hexadecimal digits, equal where people would see the same: a hash of the settings and of all pictures."""
    contents = [part for run in runs for part in (run.path, str(run.digest))]
    of_reals = reals.fingerprint, reals.split
    return f"{fold('study', settings.seed, *of_reals, settings.count, *tasks, settings.exposure, *contents):016x}"


def describe_study(folder: Path, key: StudyKey, **more: float) -> StudyResult:
    """The study in `folder`: its files, what it compares, and what one person sees. `more` are further fields."""
    parts = study_parts(key.tasks, len(key.runs), key.count)
    table: list[PartRow] = [
        {"task": part.task, "trials": part.trials, "catch": part.catch, "practice": part.practice} for part in parts
    ]
    return StudyResult(
        study=str(folder),
        page=str(folder / PAGE_FILE),
        key=str(folder / KEY_FILE),
        answers=str(folder / ANSWERS_FOLDER),
        runs=[run.name for run in key.runs],
        reals={"data": key.reals.data, "split": key.reals.split},
        warnings=[NOT_HELD_OUT.format(key.reals.data)] if key.reals.split == "train" else [],
        pictures=len(key.pictures),
        minutes=estimate_minutes(parts),
        table=table,
        **more,
    )


def _check_settings(words: Sequence[str | Path], settings: StudySettings) -> list[Task]:
    """The tasks of the study. Errors: `InputError` for a setting out of range."""
    if not words:
        raise InputError("nothing to rate; name runs, folders of pictures or .npz files: limner rate RUN…")
    if not 1 <= settings.count <= 200:
        raise InputError(f"{option('count')} {settings.count}: a person can judge 1 to 200 pictures of each run")
    if not 50 <= settings.exposure <= 5000:
        raise InputError(f"{option('exposure')} {settings.exposure}: give 50 to 5000 milliseconds")
    if not 0 <= settings.seed < MAX_SEED:
        raise InputError(f"{option('seed')} {settings.seed}: for a study, give 0 to {MAX_SEED - 1:,}")
    for task in settings.tasks or ():
        if task not in TASKS:
            raise InputError(f"unknown task '{task}'{nearest(task, TASKS)} (there are: {', '.join(TASKS)})")
    tasks: list[Task] = [task for task in TASKS if settings.tasks is None or task in settings.tasks]
    if len(words) == 1 and "pairs" in tasks:
        tasks.remove("pairs")
    if not tasks:
        raise InputError("pairs are of two runs or more; name another run, or choose timed or untimed")
    return tasks


def _new_folder(out: Path | None, data: str) -> Path:
    """`out`, which must not exist; by default ``studies/0001-data`` with the next free number and the name of the data."""
    if out is not None:
        if out.exists():
            raise InputError(
                f"{out} is there already; give another {option('out')}, or `limner rate {out} --serve` for the study in it"
            )
        return out
    parent = Path("studies")
    name = slug(data, ascii_only=True).strip("-.") or "study"
    with os_errors_as_input_errors(parent):
        make_folder(parent)
        numbers = [int(match[1]) for entry in parent.iterdir() if (match := re.match(r"(\d{4,})-", entry.name))]
    return parent / f"{max(numbers, default=0) + 1:04d}-{name}"


# ---- the pictures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyPictures:
    """All pictures of a study, each group [N, H, W, C] uint8."""

    reals: tuple[Pixels, list[int]]
    """Real pictures of the trials, and their rows in the data set."""
    samples: list[tuple[Pixels, list[int]]]
    """Of each run, the pictures of the trials, and their seeds or rows."""
    noise: Pixels
    """Of the catch trials."""
    masks: Pixels
    examples: Pixels
    """Real pictures of the first screen."""
    practice: PracticeTrials


def _draw_pictures(
    sources: Sequence[PictureSource], real: PictureSource, parts: Sequence[StudyPart], seed: int, on_progress: OnProgress
) -> StudyPictures:
    """The pictures of all forms, and those that are shown outside the trials. Errors: `InputError` where there are too few, or
    the page would be too large."""
    for_trials, for_practice = _needs(parts, len(sources))
    for source in (real, *sources):
        is_real = source is real
        need = for_trials.of(is_real) + for_practice.of(is_real)
        if source.count is not None and source.count < need:
            name = "real" if is_real else source.record.name
            raise InputError(
                f"{source.count} {name} pictures are too few: each person would be shown {need}; "
                f"give a smaller {option('count')}"
            )
    spread = _affordable_spread(real, for_trials, len(sources))

    def draw(source: PictureSource) -> tuple[Pixels, list[int]]:
        count = int(spread * for_trials.of(source is real)) + for_practice.of(source is real)
        return source.draw(count if source.count is None else min(count, source.count))

    reals = draw(real)
    samples = []
    for source in sources:
        samples.append(draw(source))
        done = sum(len(numbers) for _, numbers in samples)
        on_progress(Progress("drawing", done, done * len(sources) // len(samples)))
    height, width, channels = reals[0].shape[1:]
    noise = noise_pictures(2 * sum(part.catch for part in parts) + PRACTICE_PAIRS, (height, width, channels), seed)
    single_parts = sum(part.task != "pairs" for part in parts)
    practice_samples = [samples[i % len(samples)][0][i // len(samples)] for i in range(single_parts * PRACTICE_TRIALS // 2)]
    practice_reals = reals[0][EXAMPLES : for_practice.reals]
    return StudyPictures(
        reals=(reals[0][for_practice.reals :], reals[1][for_practice.reals :]),
        samples=[(pixels[for_practice.of_each :], numbers[for_practice.of_each :]) for pixels, numbers in samples],
        noise=noise[:-PRACTICE_PAIRS],
        masks=make_masks(np.concatenate([part[:16] for part in (reals[0], *(pixels for pixels, _ in samples))]), seed),
        examples=reals[0][:EXAMPLES],
        practice=_practice_trials(parts, practice_reals, practice_samples, noise[-PRACTICE_PAIRS:], seed),
    )


@dataclass(frozen=True)
class _Needs:
    """How many pictures are needed: real ones, and of each run."""

    reals: int
    of_each: int

    def of(self, is_real: bool) -> int:
        return self.reals if is_real else self.of_each


def _needs(parts: Sequence[StudyPart], runs: int) -> tuple[_Needs, _Needs]:
    """For the trials of one form, and for the first screen and practice."""
    single_parts = sum(part.task != "pairs" for part in parts)
    pair_parts = len(parts) - single_parts
    practice_reals = single_parts * PRACTICE_TRIALS // 2 + pair_parts * PRACTICE_PAIRS
    practice_samples = single_parts * (PRACTICE_TRIALS // 2)
    for_trials = _Needs(sum(part.reals for part in parts), sum(part.of_each for part in parts))
    return for_trials, _Needs(EXAMPLES + practice_reals, math.ceil(practice_samples / runs))


def _affordable_spread(real: PictureSource, needs: _Needs, runs: int) -> float:
    """How many pictures the page can hold for each one that a person sees, at most `SPREAD`.

    Errors: `InputError` where the page cannot even hold one.
    """
    pictures, _ = real.draw(min(16, needs.reals))
    bytes_each = sum(len(encode_png(one)) for one in pictures) / len(pictures) * 4 / 3  # base64
    total = needs.reals + runs * needs.of_each
    spread = min(SPREAD, MAX_PAGE_BYTES / (bytes_each * total))
    if spread < 1:
        raise InputError(
            f"the page would take {bytes_each * total / 2**20:.0f} MiB, more than {MAX_PAGE_BYTES >> 20}; "
            f"give a smaller {option('count')}"
        )
    return spread


def _practice_trials(
    parts: Sequence[StudyPart], reals: Pixels, samples: Sequence[Pixels], noise: Pixels, seed: int
) -> PracticeTrials:
    """By task: (pictures as PNG, the right answer), from pictures that no trial shows."""
    practice: PracticeTrials = {}
    generator = study_generator(seed, "practice")
    real_pool, sample_pool = list(reals), list(samples)
    for part in parts:
        if part.task == "pairs":
            one, two = real_pool.pop(), real_pool.pop()
            left = [encode_png(one), encode_png(noise[0])]
            right = [encode_png(noise[1]), encode_png(two)]
            practice["pairs"] = [(left, "left"), (right, "right")]
            continue
        trials = [([encode_png(real_pool.pop())], "real") for _ in range(PRACTICE_TRIALS // 2)]
        trials += [([encode_png(sample_pool.pop())], "generated") for _ in range(PRACTICE_TRIALS // 2)]
        practice[part.task] = [trials[place] for place in generator.permutation(PRACTICE_TRIALS)]
    return practice


def _assign_names(images: StudyPictures, seed: int, study: str) -> tuple[BlindNames, dict[str, Picture], dict[str, bytes]]:
    """Random names for all pictures: by kind, to their records, and to their PNG files, both ordered by name.

    Neither a name nor its place in the order says anything about the picture.
    """
    groups = [
        [(Picture(kind="real", number=n), pixels) for pixels, n in zip(*images.reals, strict=True)],
        [(Picture(kind="noise", number=n), pixels) for n, pixels in enumerate(images.noise)],
        *(
            [(Picture(kind="sample", run=run, number=n), pixels) for pixels, n in zip(*sample, strict=True)]
            for run, sample in enumerate(images.samples)
        ),
    ]
    count = sum(map(len, groups))
    generator, pool = study_generator(seed, "names", study), set[str]()
    while len(pool) < count:
        pool.add(f"{generator.integers(2**32):08x}")
    ordered = sorted(pool)
    shuffled = iter([ordered[place] for place in generator.permutation(count)])
    with_names = [[(next(shuffled), picture, pixels) for picture, pixels in group] for group in groups]
    by_name = sorted((one for group in with_names for one in group), key=lambda one: one[0])
    names = [[name for name, _, _ in group] for group in with_names]
    return (
        BlindNames(reals=names[0], noise=names[1], samples=names[2:]),
        {name: picture for name, picture, _ in by_name},
        {name: encode_png(pixels) for name, _, pixels in by_name},
    )

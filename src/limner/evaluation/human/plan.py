"""Making a study: which pictures, which trials, in which order, all from one seed; then the page, and the key beside it.

Each person is given one of `FORMS` forms, and a form shows no picture twice. What is balanced within a form: as many real
pictures as generated ones, as many of each run, and each side of a pair as often; between forms: which side "real" is on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.errors import InputError, nearest
from limner.core.files import atomic_folder, os_errors_as_input_errors, slug
from limner.core.seeds import fold
from limner.data.npz import Pixels
from limner.evaluation.human.page import Practice, page
from limner.evaluation.human.pictures import Progress, Source, chance, masks, noise, open_sources, png, real_source
from limner.evaluation.human.records import ANSWERED, KEY, PAGE, TASKS, Key, Picture, Rated, Reals, Shown, Task

FORMS = 60
SPREAD = 3
"""Pictures drawn for each one that a person sees, so that people see different ones and a study speaks of more of them."""
EXAMPLES, TRIES = 8, 4
"""Real pictures that the page opens with; practice trials with an answer before each part (two for pairs)."""
CATCH, LEAST_CATCH = 10, 4
"""One catch trial for so many others, and the fewest of a part."""
MOST_TRIALS = 600
MOST_PAGE = 64 << 20
"""Bytes of the page: more does not open well on a phone."""
LARGEST_SEED = 10**6
LEARNED = "nothing of {} was held out: the real pictures are those of training, and a run that copied them would look real"
SECONDS = {"timed": 3.0, "untimed": 3.0, "pairs": 4.0}
"""What a trial takes, roughly."""


@dataclass(frozen=True)
class Part:
    """One task of a form, in numbers of trials and pictures."""

    task: Task
    trials: int
    catch: int
    reals: int
    of_each: int
    """Pictures of each run."""


def parts_of(tasks: Sequence[Task], runs: int, count: int) -> list[Part]:
    """What one person sees: `count` pictures of each run in each way of looking, and `count` times each pair of runs."""
    found = []
    for task in tasks:
        pairs = runs * (runs - 1) // 2
        trials = count * (pairs if task == "pairs" else 2 * runs)
        catch = max(LEAST_CATCH, round(trials / CATCH))
        reals = catch if task == "pairs" else count * runs
        found.append(Part(task, trials, catch, reals, count * (runs - 1) if task == "pairs" else count))
    return found


def minutes_of(parts: Sequence[Part]) -> int:
    """What a person needs, with two minutes to read and to practise."""
    return round(sum((part.trials + part.catch) * SECONDS[part.task] for part in parts) / 60) + 2


# Many parameters: the keyword interface of the verb, until every verb has a request model.
def plan(
    words: Sequence[str | Path],
    *,
    data: str | None = None,
    count: int = 15,
    tasks: Sequence[str] | None = None,
    exposure: int = 500,
    checkpoint: str = "last",
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Makes the folder of a study of `words` (runs, folders of pictures, .npz files), and says what is in it.

    ``study.html`` is for people, ``key.json`` is not; ``answers`` is where answers go. `exposure`: milliseconds that a timed
    picture is seen. Errors: `InputError`.
    """
    chosen = _checked(words, count, tasks, exposure, seed)
    sources, dataset = open_sources(words, data, checkpoint, seed)
    parts = parts_of(chosen, len(sources), count)
    trials = sum(part.trials + part.catch for part in parts)
    if trials > MOST_TRIALS:
        raise InputError(f"one person would have to judge {trials} times, more than {MOST_TRIALS}; give a smaller --count")
    folder = _folder(out, dataset.name)
    real, reals = real_source(dataset, seed)
    drawn = _draw(sources, real, parts, seed, progress)
    study = _id(seed, reals, count, chosen, exposure, [source.rated for source in sources])
    names, pictures, files = _blind(drawn, seed, study)
    forms = [list(_form(parts, names, len(sources), seed, number)) for number in range(FORMS)]
    key = Key(
        study=study,
        seed=seed,
        count=count,
        tasks=chosen,
        exposure=exposure,
        runs=[source.rated for source in sources],
        reals=reals,
        pictures=pictures,
        forms=forms,
    )
    text = page(
        key, minutes_of(parts), files, [png(one) for one in drawn.masks], [png(one) for one in drawn.examples], drawn.practice
    )
    with atomic_folder(folder) as temporary:
        (temporary / PAGE).write_text(text, encoding="utf-8")
        key.write(temporary)
        (temporary / ANSWERED).mkdir()
    return told(folder, key) | {"megabytes": round(len(text) / 1e6, 1)}


def _id(seed: int, reals: Reals, count: int, tasks: Sequence[Task], exposure: int, runs: Sequence[Rated]) -> str:
    """The same where people would see the same: of all that was asked for, and of what lies there now under those names."""
    things = [part for run in runs for part in (run.path, str(run.digest))]
    return f"{fold('study', seed, reals.fingerprint, reals.split, count, *tasks, exposure, *things):016x}"


def told(folder: Path, key: Key) -> dict[str, Any]:
    """What there is to say about the study in `folder`; ``table`` is what one person sees."""
    parts = parts_of(key.tasks, len(key.runs), key.count)
    table = [
        {"task": p.task, "trials": p.trials, "catch": p.catch, "practice": 2 if p.task == "pairs" else TRIES} for p in parts
    ]
    return {
        "study": str(folder),
        "page": str(folder / PAGE),
        "key": str(folder / KEY),
        "answers": str(folder / ANSWERED),
        "runs": [run.name for run in key.runs],
        "reals": {"data": key.reals.data, "split": key.reals.split},
        "warnings": [LEARNED.format(key.reals.data)] if key.reals.split == "train" else [],
        "pictures": len(key.pictures),
        "minutes": minutes_of(parts),
        "table": table,
    }


def _checked(words: Sequence[Any], count: int, tasks: Sequence[str] | None, exposure: int, seed: int) -> list[Task]:
    if not words:
        raise InputError("nothing to rate; name runs, folders of pictures or .npz files: limner rate RUN…")
    if not 1 <= count <= 200:
        raise InputError(f"--count {count}: a person can judge 1 to 200 pictures of each run")
    if not 50 <= exposure <= 5000:
        raise InputError(f"--exposure {exposure}: give 50 to 5000 milliseconds")
    if not 0 <= seed < LARGEST_SEED:
        raise InputError(f"--seed {seed}: for a study, give 0 to {LARGEST_SEED - 1:,}")
    for task in tasks or ():
        if task not in TASKS:
            raise InputError(f"unknown task '{task}'{nearest(task, TASKS)} (there are: {', '.join(TASKS)})")
    chosen: list[Task] = [task for task in TASKS if tasks is None or task in tasks]
    if len(words) == 1 and "pairs" in chosen:
        chosen.remove("pairs")
    if not chosen:
        raise InputError("pairs are of two runs or more; name another run, or choose timed or untimed")
    return chosen


def _folder(out: Path | None, data: str) -> Path:
    """`out`, which must be free; by default studies/0001-data with the next free number."""
    if out is not None:
        if out.exists():
            raise InputError(f"{out} is there already; give another --out, or `limner rate {out} --serve` for the study in it")
        return out
    parent = Path("studies")
    name = slug(data, ascii_only=True).strip("-.") or "study"
    with os_errors_as_input_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for entry in parent.iterdir() if (match := re.match(r"(\d{4,})-", entry.name))]
    return parent / f"{max(taken, default=0) + 1:04d}-{name}"


# ---- the pictures -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SampledImages:
    """All pictures of a study: real ones, those of each run, noise; and those that stand outside the trials."""

    reals: tuple[Pixels, list[int]]
    samples: list[tuple[Pixels, list[int]]]
    noise: Pixels
    masks: Pixels
    examples: Pixels
    practice: Practice


def _draw(
    sources: Sequence[Source], real: Source, parts: Sequence[Part], seed: int, progress: Progress | None
) -> SampledImages:
    need_reals, need_each = sum(part.reals for part in parts), sum(part.of_each for part in parts)
    looked = sum(part.task != "pairs" for part in parts)
    aside_reals = EXAMPLES + looked * TRIES // 2 + 2 * (len(parts) - looked)
    aside_each = -(-looked * (TRIES // 2) // len(sources))
    catches = sum(part.catch for part in parts)
    for source, need, aside in [(real, need_reals, aside_reals), *((one, need_each, aside_each) for one in sources)]:
        if source.count is not None and source.count < need + aside:
            what = "real" if source is real else source.rated.name
            raise InputError(
                f"{source.count} {what} pictures are too few: each person would be shown {need + aside}; give a smaller --count"
            )
    few, _ = real.draw(min(16, need_reals))
    bytes_each = sum(len(png(one)) for one in few) / len(few) * 4 / 3
    total = need_reals + len(sources) * need_each
    spread = min(SPREAD, MOST_PAGE / (bytes_each * total))
    if spread < 1:
        raise InputError(
            f"the page would take {bytes_each * total / 2**20:.0f} MiB, more than {MOST_PAGE >> 20}; give a smaller --count"
        )

    def some(source: Source, need: int, aside: int) -> tuple[Pixels, list[int]]:
        wanted = int(spread * need) + aside
        return source.draw(wanted if source.count is None else min(wanted, source.count))

    reals = some(real, need_reals, aside_reals)
    samples = []
    for source in sources:
        samples.append(some(source, need_each, aside_each))
        if progress is not None:
            done = sum(len(numbers) for _, numbers in samples)
            progress(done, done * len(sources) // len(samples))
    shape = reals[0].shape[1:]
    blots = noise(2 * catches + 2, (shape[0], shape[1], shape[2]), seed)
    tries = [samples[i % len(samples)][0][i // len(samples)] for i in range(looked * TRIES // 2)]
    practice = _practice(parts, reals[0][EXAMPLES:aside_reals], tries, blots[-2:], seed)
    return SampledImages(
        reals=(reals[0][aside_reals:], reals[1][aside_reals:]),
        samples=[(pixels[aside_each:], numbers[aside_each:]) for pixels, numbers in samples],
        noise=blots[:-2],
        masks=masks(np.concatenate([part[:16] for part in (reals[0], *(pixels for pixels, _ in samples))]), seed),
        examples=reals[0][:EXAMPLES],
        practice=practice,
    )


def _practice(parts: Sequence[Part], reals: Pixels, samples: Sequence[Pixels], blots: Pixels, seed: int) -> Practice:
    """By task: (pictures as PNG, the right answer), from pictures that no trial shows."""
    found: Practice = {}
    draw = chance(seed, "practice")
    left, made = list(reals), list(samples)
    for part in parts:
        if part.task == "pairs":
            one, two = left.pop(), left.pop()
            found["pairs"] = [([png(one), png(blots[0])], "left"), ([png(blots[1]), png(two)], "right")]
            continue
        both = [([png(left.pop())], "real") for _ in range(TRIES // 2)]
        both += [([png(made.pop())], "generated") for _ in range(TRIES // 2)]
        found[part.task] = [both[place] for place in draw.permutation(TRIES)]
    return found


@dataclass(frozen=True)
class Names:
    """Blind names of the pictures of trials, by what they are."""

    reals: list[str]
    samples: list[list[str]]
    noise: list[str]


def _blind(drawn: SampledImages, seed: int, study: str) -> tuple[Names, dict[str, Picture], dict[str, bytes]]:
    """Names that say nothing, what is behind them, and the files; the latter two in the order of names, which says nothing."""
    groups = [
        [(Picture(kind="real", number=n), pixels) for pixels, n in zip(*drawn.reals, strict=True)],
        [(Picture(kind="noise", number=n), pixels) for n, pixels in enumerate(drawn.noise)],
        *(
            [(Picture(kind="sample", run=run, number=n), pixels) for pixels, n in zip(*sample, strict=True)]
            for run, sample in enumerate(drawn.samples)
        ),
    ]
    count = sum(map(len, groups))
    draw, taken = chance(seed, "names", study), set[str]()
    while len(taken) < count:
        taken.add(f"{draw.integers(2**32):08x}")
    pool = sorted(taken)
    shuffled = iter([pool[place] for place in draw.permutation(count)])
    named = [[(next(shuffled), picture, pixels) for picture, pixels in group] for group in groups]
    everything = sorted((one for group in named for one in group), key=lambda one: one[0])
    ids = [[name for name, _, _ in group] for group in named]
    return (
        Names(reals=ids[0], noise=ids[1], samples=ids[2:]),
        {name: picture for name, picture, _ in everything},
        {name: png(pixels) for name, _, pixels in everything},
    )


# ---- the trials ---------------------------------------------------------------------------------------------------------


def _form(parts: Sequence[Part], names: Names, runs: int, seed: int, number: int) -> Iterator[Shown]:
    """The trials of form `number`, part by part; within a part in random order, no picture twice."""
    draw = chance(seed, "form", number)

    def shuffled(pool: list[str]) -> Iterator[str]:
        return iter([pool[place] for place in draw.permutation(len(pool))])

    reals, blots, samples = shuffled(names.reals), shuffled(names.noise), [shuffled(pool) for pool in names.samples]
    for part in parts:
        trials: list[list[str]] = []
        if part.task == "pairs":
            for place, (a, b) in enumerate(combinations(range(runs), 2)):
                for turn in range(part.trials // (runs * (runs - 1) // 2)):
                    pair = [next(samples[a]), next(samples[b])]
                    trials.append(pair[::-1] if (turn + place + number) % 2 else pair)
            for turn in range(part.catch):
                pair = [next(reals), next(blots)]
                trials.append(pair[::-1] if (turn + number) % 2 else pair)
        else:
            trials += [[next(reals)] for _ in range(part.reals)]
            trials += [[next(samples[run])] for run in range(runs) for _ in range(part.of_each)]
            trials += [[next(blots)] for _ in range(part.catch)]
        for place in draw.permutation(len(trials)):
            yield Shown(task=part.task, shown=trials[place])

"""Every verb of the table: help, command line, ``--json``, Python and JSON schemas are all made from it and agree."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic.fields import FieldInfo

import limner
import raters
from limner.cli import main
from limner.cli.door import to_jsonable
from limner.cli.show.choice import PRINTERS, show
from limner.core.errors import InputError
from limner.core.fields import PathKind
from limner.core.progress import OnProgress, Progress
from limner.core.verb import Request, Result, Verb, marker, option_name, positional
from limner.evaluation.human.records import read_key
from limner.verbs import VERBS, name_in_python
from raters import Rater

SMALL = ("batch.size=16", "score.points=0", "previews.count=4", "previews.every=1", "checkpoints.every=0.5", "precision=fp32")
NARROW = {
    "vae": ("method.width=8", "method.widest=16", "method.latent=8", "method.components=3"),
    "dcgan": ("method.generator.width=8", "method.generator.widest=32", "method.discriminator.width=16"),
}
MEASURED = frozenset(
    {
        "seconds",
        "seconds_estimate",
        "milestone_seconds",
        "judge_seconds",
        "time_warnings",
        "images_per_second",
        "memory",
        "cached",
        "reused",
        "last_use",
        "losses",
    }
)
"""Keys whose values are not those of the request alone: times, speeds, whether something lay in the cache already, and losses,
which are means since the last row of metrics (on a slow machine there are more rows)."""
VAE, GAN, PICTURES, STUDY, OUT = "$VAE", "$GAN", "$PICTURES", "$STUDY", "$OUT"
"""Stand in an example for two runs, a folder of pictures, a study with answers, and a folder for what the example makes."""

Ask = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Example:
    """A request as a person types it and as Python code has it, which must have the same result."""

    words: str
    places: Sequence[Any] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    """What lies in the example's own folder before it begins: its name there -> a run."""


TRAINING = {"preset": "vae", "images": 64, "seed": 3, "name": "a", "out": OUT, "settings": [*SMALL, *NARROW["vae"]]}
TRAINING_WORDS = f"digits --preset vae --images 64 --seed 3 --name a --out {OUT} {' '.join([*SMALL, *NARROW['vae']])}"
SCORES = {"count": 60, "features": "pixels", "metrics": "frechet,coverage", "out": OUT}
SCORES_WORDS = f"--count 60 --features pixels --metrics frechet,coverage --out {OUT}"
FILES = [f"{PICTURES}/0.png", f"{PICTURES}/1.png"]
EXAMPLES: Mapping[str, Sequence[Example]] = {
    "doctor": [Example("")],
    "define": [Example(""), Example("coverage", ("coverage",))],
    "data list": [Example("")],
    "data check": [
        Example(f"{PICTURES} --size 9x8 --split 0.5 --channels 1", (PICTURES,), {"size": "9x8", "split": "0.5", "channels": 1}),
        Example(f"{PICTURES} --size 9x8", (Path(PICTURES),), {"size": (9, 8)}),
    ],
    "data prepare": [
        Example(
            f"{PICTURES} --size 8 --binary --channels 1 --out {OUT}/set",
            (PICTURES,),
            {"size": "8", "binary": True, "channels": 1, "out": Path(OUT) / "set"},
        )
    ],
    "methods": [Example("")],
    "train": [
        Example(TRAINING_WORDS, ("digits",), TRAINING),
        Example(f"{TRAINING_WORDS} --dry-run", ("digits",), {**TRAINING, "dry_run": True}),
    ],
    "resume": [Example(f"{OUT}/a --images 128", (f"{OUT}/a",), {"images": 128}, {"a": VAE})],
    "sample": [
        Example(f"{VAE} --seeds 0-2,7 --grid --out {OUT}", (VAE,), {"seeds": [0, 1, 2, 7], "grid": True, "out": OUT}),
        Example(
            f"{GAN} --count 3 --truncation .5 --npz {OUT}/a.npz --no-metadata",
            (GAN,),
            {"count": 3, "truncation": 0.5, "npz": Path(OUT) / "a.npz", "metadata": False},
        ),
        Example(
            f"{GAN} --count 2 --truncation .5 --out {OUT}", (GAN,), {"count": 2, "sampling": {"truncation": 0.5}, "out": OUT}
        ),
    ],
    "reconstruct": [
        Example(f"{VAE} {' '.join(FILES)} --out {OUT}", (VAE, FILES), {"out": OUT}),
        Example(f"{GAN} {FILES[0]} --starts 1 --steps 3 --out {OUT}", (GAN, FILES[:1]), {"starts": 1, "steps": 3, "out": OUT}),
    ],
    "interpolate": [
        Example(f"{VAE} --seeds 3,7 --steps 3 --out {OUT}", (VAE,), {"seeds": "3,7", "steps": 3, "out": OUT}),
        Example(f"{VAE} {' '.join(FILES)} --steps 3 --out {OUT}", (VAE, FILES), {"steps": 3, "out": OUT}),
    ],
    "traverse": [
        Example(
            f"{VAE} --latents 0-1 --steps 3 --span 2 --seed 5 --out {OUT}",
            (VAE,),
            {"latents": range(2), "steps": 3, "span": 2, "seed": 5, "out": OUT},
        ),
        Example(
            f"{VAE} {FILES[0]} --latents 1 --steps 2 --out {OUT}", (VAE, FILES[0]), {"latents": [1], "steps": 2, "out": OUT}
        ),
    ],
    "embed": [
        Example(f"{VAE} digits --split val --out {OUT}/a.npz", (VAE, ["digits"]), {"split": "val", "out": f"{OUT}/a.npz"}),
        Example(f"{VAE} {' '.join(FILES)} --out {OUT}/a.npz", (VAE,), {"sources": FILES, "out": f"{OUT}/a.npz"}),
    ],
    "classify": [Example(f"{VAE} {' '.join(FILES)} --out {OUT}/new", (VAE, FILES), {"out": f"{OUT}/new"})],
    "evaluate": [
        Example(f"{VAE} {SCORES_WORDS}", (VAE,), SCORES),
        Example(
            f"{PICTURES} --data digits --features pixels --metrics copies --out {OUT}",
            (PICTURES,),
            {"data": "digits", "features": "pixels", "metrics": ["copies"], "out": OUT},
        ),
        Example(f"{VAE} --checkpoint all {SCORES_WORDS}", (VAE,), {**SCORES, "checkpoint": "all"}),
        Example(
            f"{VAE} --metrics psnr,elbo --importance 2 --out {OUT}",
            (VAE,),
            {"metrics": ["psnr", "elbo"], "importance": 2, "out": OUT},
        ),
    ],
    "compare": [Example(f"{VAE} {GAN} {PICTURES} {SCORES_WORDS} --html", ([VAE, GAN, PICTURES],), {**SCORES, "html": True})],
    "rate": [
        Example(
            f"{VAE} {GAN} --count 2 --seed 4 --tasks timed,pairs --out {OUT}/study",
            ([VAE, GAN],),
            {"count": 2, "seed": 4, "tasks": ["timed", "pairs"], "out": f"{OUT}/study"},
        ),
        Example(f"{STUDY} --analyse", ([STUDY],), {"analyse": True}),
    ],
    "runs": [Example(f"{OUT}", (OUT,), {}, {"a": VAE, "b": GAN})],
    "runs prune": [Example(f"{OUT}", (), {"folder": OUT}, {"a": VAE})],
    "runs delete": [Example(f"{OUT}/a {OUT}/b", ([f"{OUT}/a", f"{OUT}/b"],), {}, {"a": VAE, "b": GAN})],
    "runs restore": [Example(f"{OUT}/a", ([f"{OUT}/a"],), {}, {".trash/20260101-000000/a": VAE})],
    "runs rename": [Example(f"{OUT}/a b", (f"{OUT}/a", "b"), {}, {"a": VAE})],
    "runs move": [Example(f"{OUT}/a {OUT}/old", (f"{OUT}/a",), {"folder": f"{OUT}/old"}, {"a": VAE})],
    "runs note": [Example(f"{OUT}/a good", (f"{OUT}/a", "good"), {}, {"a": VAE})],
    "cache": [Example("data", ("data",), {})],
    "cache clear": [Example("temporary", (), {"kind": "temporary"})],
    "report": [Example(f"{OUT}/a", (f"{OUT}/a",), {}, {"a": VAE})],
}


def plain(name: str) -> str:
    """As a test's name: ``data-list``."""
    return name.replace(" ", "-")


ALL = [pytest.param(name, id=plain(name)) for name in VERBS]
NUMBERED = [
    pytest.param(name, example, id=f"{plain(name)}-{number}")
    for name in EXAMPLES
    for number, example in enumerate(EXAMPLES[name])
]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("doctor", "--json")` is (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the words of the examples stand for, but for the folder that each makes."""
    base = tmp_path_factory.mktemp("verbs")
    found = {PICTURES: str(base / "pictures"), STUDY: str(base / "study")}
    (base / "pictures").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)):
        Image.fromarray(image).save(base / "pictures" / f"{number}.png")
    for word, preset in ((VAE, "vae"), (GAN, "dcgan")):
        settings = [*SMALL, *NARROW[preset]]
        result = limner.train("digits", preset=preset, images=64, out=base / "runs", name=preset, settings=settings)
        found[word] = str(result.run)
    limner.rate([found[VAE], found[GAN]], count=4, out=found[STUDY])
    answer_study(Path(found[STUDY]))
    return found


def answer_study(folder: Path) -> None:
    """Four people judge the pictures of a study."""
    key, rng = read_key(folder), np.random.default_rng(0)
    for number in range(4):
        rows = raters.sitting(key, Rater((1.0, 2.0), (0.0, 0.5)), rng)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "answers" / f"{number}.jsonl").write_text(text, encoding="utf-8")


def fill(value: Any, places: Mapping[str, str]) -> Any:
    """`value` of an example with the folders that its words stand for."""
    if isinstance(value, str | Path):
        text = str(value)
        for word, place in places.items():
            text = text.replace(word, place)
        return type(value)(text)
    if isinstance(value, Mapping):
        return {key: fill(one, places) for key, one in value.items()}
    return [fill(one, places) for one in value] if isinstance(value, list | tuple) else value


def prepare(example: Example, folder: Path, places: Mapping[str, str]) -> dict[str, str]:
    """The folder of an example, with the runs that it begins with; all places."""
    folder.mkdir()
    for name, run in example.copies.items():
        shutil.copytree(places[run], folder / name)
    return {**places, OUT: str(folder)}


def comparable(value: Any, places: Mapping[str, str]) -> Any:
    """A result in JSON without what another call of the same request may differ in: its folder, times and caches."""
    if isinstance(value, dict):
        return {key: comparable(one, places) for key, one in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [comparable(one, places) for one in value]
    return re.sub(r"\.trash/[\d-]+", ".trash/TIME", value.replace(places[OUT], OUT)) if isinstance(value, str) else value


def test_every_verb_and_every_type_of_result_is_tried() -> None:
    assert set(EXAMPLES) == set(VERBS)
    assert set(PRINTERS) == {result for verb in VERBS.values() for result in verb.results}


@pytest.mark.parametrize(("name", "example"), NUMBERED)
def test_command_line_and_python_have_the_same_result(
    name: str, example: Example, places: dict[str, str], ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = VERBS[name]
    there = prepare(example, tmp_path / "words", places)
    code, out, err = ask(*name.split(), *fill(example.words, there).split(), "--json")
    assert code == 0, err
    answer = json.loads(out)

    here = prepare(example, tmp_path / "python", places)
    events: list[Progress] = []
    function = getattr(limner, name_in_python(name))
    result = function(*fill(example.places, here), **fill(example.keywords, here), on_progress=events.append)
    flags = [flag for flag in verb.flag_results if example.keywords.get(flag)]
    assert type(result) is (verb.flag_results[flags[0]] if flags else verb.result)
    assert comparable(answer, there) == comparable(to_jsonable(result), here)
    assert all(type(event) is Progress and event.what for event in events)

    check_schema(out, type(result))
    check_result(result, list(answer))
    capsys.readouterr()
    show(result)
    printed = capsys.readouterr().out
    assert printed.strip()
    assert not re.search(r"[{}]|\bNone\b|Path\(|\['|<limner", printed), printed


def check_schema(text: str, kind: type[Result]) -> None:
    """The JSON is what the schema of the result says."""
    schema, answer = kind.model_json_schema(), json.loads(text)
    assert set(schema["required"]) <= set(answer)
    if not schema.get("additionalProperties", True):
        assert set(answer) <= set(schema["properties"])
    kind.model_validate_json(text, strict=True)


def check_result(result: Result, keys: Sequence[str]) -> None:
    """It answers by name and as an object, and has a short line for whoever prints it."""
    assert list(result) == result.keys() == keys
    assert list(dict(result)) == keys
    assert all(result[key] is getattr(result, key) is result.get(key) for key in keys)
    line = repr(result)
    assert "\n" not in line
    assert len(line) < 950
    assert str(result) == line
    assert "<table>" in result._repr_html_()


@pytest.mark.parametrize("name", ALL)
def test_a_request_object_is_taken_as_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the doors hand the verb's function the very request, with every default in its place."""
    received: list[Request] = []
    verb = VERBS[name]

    def receive(request: Request, on_progress: OnProgress) -> Result:
        received.append(request)
        return Result()

    stub = replace(verb, run=receive)
    example = EXAMPLES[name][0]
    stub.call(*example.places, **example.keywords)
    stub.call(received[0])
    monkeypatch.setitem(VERBS.own, name, stub)
    main([*name.split(), *example.words.split(), "--json"])
    assert received[0] is received[1]
    assert received[2] == received[0]


# ---- help ---------------------------------------------------------------------------------------------------------------


def own_fields(request: type[Request]) -> dict[str, FieldInfo]:
    """The fields of a request that have a place of their own on the command line."""
    return {name: info for name, info in request.model_fields.items() if name != request.open_field}


@pytest.mark.parametrize("name", ALL)
def test_the_help_has_every_field_and_nothing_else(name: str, ask: Ask) -> None:
    request = VERBS[name].request
    code, out, err = ask(*name.split(), "--help")
    assert (code, err) == (0, "")
    about, _, rest = out.partition("Arguments:" if positional(request) else "Options:")
    assert "".join((inspect.getdoc(request) or "").split()) in "".join(about.split())
    fields = own_fields(request)
    options = {option_name(request, one) for one in fields if one not in positional(request)}
    options |= {f"--{one.replace('_', '-')}" for one in request.open_fields()}
    assert set(re.findall(r"^  (--?[\w-]+(?: / --[\w-]+|, --[\w-]+)?)", rest, re.M)) == {
        *(option.replace("/", " / ") for option in options),
        "--json",
        "-h, --help",
    }
    assert re.findall(r"^  ([A-Z]\S*) <", rest, re.M) == [option_name(request, one) for one in positional(request)]
    text = "".join(rest.split())
    for field_name, info in [*fields.items(), *request.open_fields().items()]:
        assert info.description, field_name
        assert "".join(info.description.split()) in text, field_name


def test_the_help_says_how_values_are_written(ask: Ask) -> None:
    """Where that is not the type alone."""
    text = ask("data", "check", "--help")[1] + ask("sample", "--help")[1] + ask("evaluate", "--help")[1]
    for words in (
        "--size N|HxW",
        "--fit crop|pad|stretch",
        "--background COLOUR",
        "--split SHARE|NAME|none",
        "--labels auto|none",
        "--seeds 0-15,42",
        "--checkpoint last|best|N",
        "--metadata / --no-metadata",
        "--features NAME|FILE",
        "[default: judge]",
        "--metrics A,B",
    ):
        assert words in text


def test_the_root_names_every_verb_with_its_first_line(ask: Ask) -> None:
    text = "".join(ask("--help")[1].split()) + "".join(ask("data", "--help")[1].split())
    for name, verb in VERBS.items():
        first = (inspect.getdoc(verb.request) or "").splitlines()[0]
        assert first.endswith(".")
        assert "".join((name.removeprefix("data ") + first).split()) in text, name


# ---- bad input ----------------------------------------------------------------------------------------------------------


def misspelt(name: str) -> str:
    """`name` with its last letter typed twice."""
    return name + name[-1]


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_keyword_is_refused_with_the_nearest_name(name: str) -> None:
    verb = VERBS[name]
    function = getattr(limner, name_in_python(name))
    with pytest.raises(InputError, match="unknown option 'no_such_thing'"):
        function(no_such_thing=1)
    for field_name in [*own_fields(verb.request), *verb.request.open_fields()]:
        with pytest.raises(InputError, match=f"unknown option '{misspelt(field_name)}'; did you mean '{field_name}'"):
            function(**{misspelt(field_name): 1})
    if verb.request.open_field is not None:
        with pytest.raises(InputError, match="trunkation"):
            function("nowhere", **{verb.request.open_field: {"trunkation": 0.5}})


@pytest.mark.parametrize("name", ALL)
def test_an_unknown_option_is_refused_with_the_nearest_name(name: str, ask: Ask) -> None:
    request = VERBS[name].request
    options = [option_name(request, one).partition("/")[0] for one in own_fields(request) if one not in positional(request)]
    options += [f"--{one.replace('_', '-')}" for one in request.open_fields()]
    for option in ["--json", *options]:
        code, out, err = ask(*name.split(), misspelt(option))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert misspelt(option) in err
        assert re.search(rf"{re.escape(option)}\b", err.replace(misspelt(option), "")), err


@pytest.mark.parametrize("name", ALL)
def test_what_is_missing_or_given_twice_is_named(name: str) -> None:
    verb, function = VERBS[name], getattr(limner, name_in_python(name))
    required = [one for one, info in verb.request.model_fields.items() if info.is_required()]
    if required:
        with pytest.raises(InputError, match=f"^{required[0]} is missing; "):
            function()
        with pytest.raises(InputError, match=f"'{required[0]}' is given twice"):
            function("a", **{required[0]: "b"})
    with pytest.raises(InputError, match="by place"):
        function(*["a"] * (1 + len(positional(verb.request))))


# ---- schemas ------------------------------------------------------------------------------------------------------------


def is_path(annotation: Any) -> bool:
    return annotation is Path or any(is_path(part) for part in get_args(annotation))


def is_text(annotation: Any) -> bool:
    return annotation is str or any(is_text(part) for part in get_args(annotation))


PLAIN_TEXTS = {
    *("background", "checkpoint", "fail_if", "label", "metrics", "name", "sampling", "size", "sort", "split", "tasks", "text"),
    *("value_range", "where", "word"),
}
"""Fields of requests whose texts name no file."""


def formats(schema: Any) -> set[str]:
    """Every `format` that is named in a JSON schema."""
    if isinstance(schema, list):
        return {one for part in schema for one in formats(part)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["format"]} if isinstance(schema.get("format"), str) else set()
    return own | {one for part in schema.values() for one in formats(part)}


@pytest.mark.parametrize("name", ALL)
def test_requests_and_results_have_schemas_in_which_paths_say_what_they_are_for(name: str) -> None:
    verb = VERBS[name]
    schema = verb.request.model_json_schema()
    assert set(schema["properties"]) == set(verb.request.model_fields)
    for field_name, info in verb.request.model_fields.items():
        kind = marker(info, PathKind)
        assert (kind is not None) or not is_path(info.annotation), f"{field_name} is a path that does not say what it is for"
        if kind is not None:
            assert formats(schema["properties"][field_name]) == {kind.use}
        elif is_text(info.annotation):
            assert field_name in PLAIN_TEXTS, f"{field_name} is a text: list it here if it names no file"
        assert schema["properties"][field_name]["description"] == info.description
    for result in verb.results:
        assert result.model_json_schema()["properties"]


@pytest.mark.parametrize("name", ALL)
def test_the_function_in_python_says_what_it_takes(name: str) -> None:
    verb, function = VERBS[name], getattr(limner, name_in_python(name))
    parameters = inspect.signature(function).parameters
    assert {*verb.request.model_fields, "on_progress"} == set(parameters) - {"sampling_settings"}
    assert ("sampling_settings" in parameters) == (verb.request.open_field is not None)
    assert function.__name__ == name_in_python(name)
    text = function.__doc__ or ""
    assert all(info.description and info.description in text for info in verb.request.model_fields.values())


# ---- speed --------------------------------------------------------------------------------------------------------------


PYDANTIC = "from pydantic import BaseModel\nclass Peer(BaseModel):\n    number: int = 0"
"""What every command waits for. It takes `QUIET_SECONDS` on a quiet machine with two cores."""
QUIET_SECONDS = 0.1


def cpu_seconds(code: str, limit: float = 0.0) -> float:
    """The least time that a fresh process computes for `code` beyond its start, of five, or the first below `limit`."""
    best = float("inf")
    for _ in range(5):
        used = []
        for program in ("pass", code):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        best = min(best, used[1] - used[0])
        if best < limit:
            break
    return best


@pytest.fixture(scope="module")
def slowdown() -> float:
    """How much slower than a quiet machine this one is at the moment: others' work empties its caches."""
    return max(1.0, cpu_seconds(PYDANTIC) / QUIET_SECONDS)


def test_the_table_is_imported_at_once_and_without_what_is_heavy(slowdown: float) -> None:
    names = "torch", "numpy", "scipy", "sklearn", "PIL", "rich", "typer", "yaml", "safetensors", "fsspec", "importlib.metadata"
    code = f"import sys, limner.verbs; sys.exit(', '.join(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    limit = 0.15 * slowdown
    assert cpu_seconds("import limner.verbs", limit) < limit


@pytest.mark.parametrize(
    ("words", "seconds"), [("", 0.3), *((name, 0.5) for name in VERBS)], ids=["limner", *map(plain, VERBS)]
)
def test_help_is_quick(words: str, seconds: float, slowdown: float) -> None:
    limit = seconds * slowdown
    assert cpu_seconds(f"from limner.cli import main; main({[*words.split(), '--help']!r})", limit) < limit


# ---- a verb of others ---------------------------------------------------------------------------------------------------

GREETING = '''
"""Verb: a greeting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from limner.core.errors import InputError
from limner.core.fields import Cli
from limner.core.progress import OnProgress, Progress
from limner.core.verb import Request, Result


class GreetRequest(Request):
    """Greet somebody.

    As often as one likes.
    """

    name: Annotated[str, Cli("WHO", is_argument=True)] = Field(description="Who is greeted.")
    times: int = Field(1, ge=1, description="How often.")
    loud: bool = Field(False, description="In capitals.")


class GreetResult(Result):
    """The greetings."""

    greetings: list[str]
    numbers: list[int]
    shape: tuple[int, ...] = (1, 2)
    nothing: tuple[str, ...] = ()


def greet(request: GreetRequest, on_progress: OnProgress) -> GreetResult:
    """Greets."""
    if request.name == "nobody":
        raise InputError("nobody is there; name somebody")
    lines = []
    for number in range(request.times):
        on_progress(Progress("greeting", number + 1, request.times))
        lines.append(f"hello {request.name}".upper() if request.loud else f"hello {request.name}")
    return GreetResult(greetings=lines, numbers=list(range(1, 1 + len(lines))), shape=(1, len(lines)), nothing=())
'''


@pytest.fixture(params=["greet", "social greet"])
def greeting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The name of a verb that is no more than its file and its row."""
    (tmp_path / "greeting.py").write_text(GREETING, encoding="utf-8")
    module = load_module(tmp_path / "greeting.py")
    name: str = request.param
    VERBS.register(name, Verb(module.GreetRequest, module.GreetResult, module.greet))
    yield name
    VERBS.forget(name)


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # pydantic looks there for the names in annotations
    spec.loader.exec_module(module)
    return module


def test_a_verb_is_its_file_and_its_row(greeting: str, ask: Ask) -> None:
    words = greeting.split()
    assert re.search(rf"^  {greeting} +Greet somebody\.$", ask("--help")[1], re.M)
    code, out, _ = ask(*words, "--help")
    assert code == 0
    assert all(
        text in out for text in ("As often as one likes.", "WHO", "Who is greeted.", "--times <int>", "[default: 1]", "--loud")
    )
    code, out, err = ask(*words, "you", "--times", "2", "--json")
    expected = {"greetings": ["hello you", "hello you"], "numbers": [1, 2], "shape": [1, 2], "nothing": []}
    assert (code, err, json.loads(out)) == (0, "", expected)
    code, out, _ = ask(*words, "you", "--times", "2", "--loud")
    assert (code, out) == (0, "greetings  HELLO YOU, HELLO YOU\nnumbers    1, 2\nshape      1×2\n")
    assert ask(*words, "nobody")[::2] == (2, "limner: nobody is there; name somebody\n")
    assert "--times 0 cannot be: it should be a whole number of 1 or more" in ask(*words, "you", "--times", "0")[2]
    assert "WHO" in ask(*words)[2]

    function, events = getattr(limner, name_in_python(greeting)), list[Progress]()
    result = function("you", times=2, on_progress=events.append)
    assert result.greetings == result["greetings"] == ["hello you", "hello you"]
    assert [(event.what, event.done, event.total) for event in events] == [("greeting", 1, 2), ("greeting", 2, 2)]
    assert repr(result) == "GreetResult(greetings=['hello you', 'hello you'], numbers=[1, 2], shape=[1, 2])"
    with pytest.raises(InputError, match="did you mean 'times'"):
        function("you", tmies=2)
    assert limner.GreetResult is type(result)


def test_a_verb_that_is_forgotten_is_gone(ask: Ask, tmp_path: Path) -> None:
    """And its function in Python with it, so that another verb may have the name."""
    for text in ("hello", "welcome"):
        (tmp_path / "greeting.py").write_text(GREETING.replace("hello", text), encoding="utf-8")
        module = load_module(tmp_path / "greeting.py")
        VERBS.register("greet", Verb(module.GreetRequest, module.GreetResult, module.greet))
        try:
            assert limner.greet("you").greetings == [f"{text} you"]
        finally:
            VERBS.forget("greet")
        assert not hasattr(limner, "greet")
        assert ask("greet", "you")[0] == 2

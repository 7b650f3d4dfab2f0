"""How every verb ends: one answer, one line, one of four exit codes. In this process, mostly."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict

from limner.cli import main
from limner.cli.door import to_jsonable
from limner.cli.progress import progress_on_stderr
from limner.core.errors import InputError
from limner.core.progress import OnProgress, Progress
from limner.core.verb import Request, Result, Verb
from limner.verbs import VERBS

HEAVY = {
    "torch",
    "numpy",
    "PIL",
    "rich",
    "yaml",
    "safetensors",
    "fsspec",
    "limner.recipes.recipe",
    "limner.data.prepare",
    "limner.training.session",
}

Ask = Callable[..., tuple[int, str, str]]


class ProbeRequest(Request):
    """Answer as a test wants it."""


class ProbeResult(Result):
    """Whatever the test answers."""

    model_config = ConfigDict(extra="allow")


@contextmanager
def probe(answer: Callable[[], dict[str, Any]], after: Callable[[Any], None] | None = None) -> Iterator[None]:
    """While it lasts there is a verb ``probe`` that answers what `answer` returns."""

    def run(request: ProbeRequest, on_progress: OnProgress) -> ProbeResult:
        return ProbeResult(**answer())

    VERBS.register("probe", Verb(ProbeRequest, ProbeResult, run, after=after))
    try:
        yield
    finally:
        VERBS.forget("probe")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("doctor", "--json")` is (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return run


def only_object(text: str) -> dict[str, Any]:
    """The one JSON object that `text` must be, to the last character."""
    value = json.loads(text)
    assert isinstance(value, dict)
    assert text.count("\n") == 1
    return value


def fail_with(error: BaseException) -> Callable[[], dict[str, Any]]:
    def answer() -> dict[str, Any]:
        print("something said on the way")
        raise error

    return answer


def test_help_needs_nothing_heavy() -> None:
    code = "import sys; from limner.cli import main; main(['--help']); print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train" in done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help_and_json(verb: str, ask: Ask) -> None:
    code, out, err = ask(*verb.split(), "--help")
    assert code == 0
    assert "--json" in out
    assert err == ""


def test_no_words_is_help(ask: Ask) -> None:
    code, out, _ = ask()
    assert code == 0
    assert all(verb.split()[0] in out for verb in VERBS)


def test_done(ask: Ask) -> None:
    code, out, err = ask("doctor", "--json")
    assert (code, err) == (0, "")
    answer = only_object(out)
    assert {"device", "precision", "threads", "extras", "torch", "memory", "warnings"} <= set(answer)
    assert answer["precision"] in ("bf16", "fp32")
    assert {(one["system"], one["device"]) for one in answer["tried"]} == {("linux", "cpu"), ("linux", "cuda")}
    code, out, err = ask("doctor")
    assert (code, err) == (0, "")
    assert "precision" in out
    assert "linux with cuda (one NVIDIA card" in out
    assert "LIMNER_DEVICE=cpu" in ask("doctor", "--help")[1]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_the_person_can_mend_is_2(flags: list[str], ask: Ask) -> None:
    with probe(fail_with(InputError("no such\nfolder: x"))):
        code, out, err = ask("probe", *flags)
    assert code == 2
    assert err.splitlines()[-1] == "limner: no such folder: x"
    if flags:
        assert only_object(out) == {"error": "no such folder: x"}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_fault_of_ours_is_1_with_its_traceback_in_a_log(flags: list[str], ask: Ask) -> None:
    with probe(fail_with(ZeroDivisionError("a bug on purpose"))):
        code, out, err = ask("probe", *flags)
    assert code == 1
    assert "Traceback" not in out + err
    line = err.splitlines()[-1]
    assert line.startswith("limner: ")
    assert "a bug on purpose" in line
    log = Path(line.rsplit(" ", 1)[1])
    assert log.is_relative_to(os.environ["LIMNER_CACHE"])
    assert "ZeroDivisionError: a bug on purpose" in log.read_text()
    assert "Traceback" in log.read_text()
    if flags:
        assert set(only_object(out)) == {"error"}


def test_a_fault_in_a_package_of_others_is_called_theirs(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was "a fault of limner's own". One of limner's that such a package only set off stays limner's."""
    rows = importlib.metadata.EntryPoints([importlib.metadata.EntryPoint("hue", "limner_hue.verb:VERB", "limner.verbs")])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **chosen: rows.select(**chosen) if chosen else rows)
    theirs: dict[str, Any] = {"__name__": "limner_hue.verb", "to_jsonable": to_jsonable}
    exec("def fail(): return {}['hue']\ndef misuse(): return to_jsonable(object())", theirs)
    for name, whose in (
        ("fail", "a fault of the package limner_hue: KeyError"),
        ("misuse", "a fault of limner's own: TypeError"),
    ):
        with probe(theirs[name]):
            code, _, err = ask("probe")
        assert code == 1
        assert err.splitlines()[-1].startswith(f"limner: {whose}")
    verb = Verb(ProbeRequest, ProbeResult, lambda *_: None)  # type: ignore[arg-type, return-value]
    VERBS.register("probe", verb)
    try:
        code, _, err = ask("probe")
    finally:
        VERBS.forget("probe")
    assert code == 2
    assert "gave None, and not a ProbeResult; mend it there; details are in " in err


def test_a_fault_in_a_known_run_goes_to_its_log(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from limner.runs import report

    def broken(run: Path) -> str:
        raise RuntimeError("a bug on purpose")

    run = tmp_path / "0007-digits-dcgan"
    run.mkdir()
    (run / "recipe.yaml").write_text("preset: dcgan\n")
    monkeypatch.setattr(report, "render_report", broken)
    for name in ("0007-digits-dcgan", "0007"):
        code, _, err = ask("report", str(tmp_path / name))
        assert code == 1
        assert str(run / "log.txt") in err
        assert "a bug on purpose" in (run / "log.txt").read_text()
        (run / "log.txt").unlink()


def test_a_log_that_the_verb_wrote_is_only_named(ask: Ask, tmp_path: Path) -> None:
    error = RuntimeError("a bug on purpose")
    error.add_note(f"log: {tmp_path / 'log.txt'}")
    with probe(fail_with(error)):
        code, _, err = ask("probe")
    assert code == 1
    assert str(tmp_path / "log.txt") in err
    assert not (tmp_path / "log.txt").exists()


def test_interrupted_is_130(ask: Ask) -> None:
    with probe(fail_with(KeyboardInterrupt())):
        code, out, err = ask("probe", "--json")
    assert code == 130
    assert only_object(out) == {"error": "interrupted"}
    assert err.splitlines()[-1] == "limner: interrupted"


def test_what_goes_on_after_the_answer_may_fail_and_adds_no_second_object(ask: Ask) -> None:
    def serve(result: Result) -> None:
        raise ZeroDivisionError("a bug on purpose")

    with probe(lambda: {"a": 1}, after=serve):
        code, out, err = ask("probe", "--json")
    assert (code, only_object(out)) == (1, {"a": 1})
    assert "a bug on purpose" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["runs", "prune", "nowhere", "--json"], ["runs", "--json", "prune", "nowhere"]])
def test_a_flag_may_stand_within_the_name_of_a_verb(words: list[str], ask: Ask) -> None:
    code, out, _ = ask(*words)
    assert code == 2
    assert "nowhere" in only_object(out)["error"]


@pytest.mark.parametrize("verb", ["compare", "rate"])
def test_several_runs_are_no_folder_of_a_log(verb: str, ask: Ask) -> None:
    """The list of runs was once taken for the folder of one."""
    code, out, err = ask(verb, "nowhere", "nor-here", "--json")
    assert code == 2, err
    assert "nowhere" in only_object(out)["error"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian", "digits"], "Did you mean 'train'?"),
        (["train"], "SRC"),
        (["train", "digits", "--pre", "dcgan"], "--preset"),
        (["train", "digits", "--minutes", "soon"], "--minutes"),
        (["train", "digits", "batch.size"], "key=value"),
        (["sample", "runs/1", "--seeds", "a-b"], "0-15,42"),
        (["sample", "runs/1", "--seeds", "1", "--count", "2"], "one of them"),
        (["sample", "runs/1", "--count", "0"], "--count 0"),
        (["runs", "a", "b"], "unexpected extra argument(s) (b); see 'limner runs --help'"),
        (["train", "digits", "--imagse", "10"], "--images"),
        (["sample", "runs/1", "--trunkation", ".5"], "--truncation"),
        (["data", "chek", "x"], "Did you mean 'check'?"),
    ],
)
def test_a_mistyped_command_is_2_in_one_line(words: list[str], hint: str, ask: Ask) -> None:
    code, out, err = ask(*words)
    assert (code, out) == (2, "")
    assert err.startswith("limner: ")
    assert err.count("\n") == 1
    assert hint in err
    code, out, err = ask(*words, "--json")
    assert code == 2
    assert hint in only_object(out)["error"]


def test_json_holds_no_nan(ask: Ask) -> None:
    import numpy

    value = {"a": float("nan"), "b": [float("inf"), 1.5], "c": numpy.float32(2), "d": Path("x"), "e": numpy.int64(3)}
    with probe(lambda: value):
        _, out, _ = ask("probe", "--json")
    assert only_object(out) == {"a": None, "b": [None, 1.5], "c": 2.0, "d": "x", "e": 3}


def test_what_a_verb_prints_stays_off_stdout(ask: Ask) -> None:
    def chatty() -> dict[str, Any]:
        print("chatter")
        return {"a": 1}

    with probe(chatty):
        code, out, err = ask("probe", "--json")
    assert (code, only_object(out)) == (0, {"a": 1})
    assert err == "chatter\n"


def test_methods_name_every_preset(ask: Ask) -> None:
    code, out, _ = ask("methods", "--json")
    assert code == 0
    rows = only_object(out)["methods"]
    assert {"dcgan", "gan", "vae"} <= {row["name"] for row in rows}
    assert all(row["line"] and "arXiv" in row["paper"] for row in rows)
    code, out, _ = ask("methods")
    assert code == 0
    assert all(row["name"] in out for row in rows)


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "limner", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode != 0


REDIRECTIONS = {
    "closed": (">&-", 0, ""),
    "all closed": ("<&- >&- 2>&-", 0, ""),
    "full": (">/dev/full", 2, "could not be written to standard output: No space left on device"),
    "full for json": ("--json >/dev/full", 2, "could not be written to standard output"),
    "full for errors": ("nonsense 2>/dev/full", 2, ""),
    "closed for errors": ("nonsense 2>&-", 2, ""),
    "cut short": ("| head -c 1 >/dev/null", 0, ""),
}
"""What a shell does to the streams of ``limner methods`` -> the exit code, and what stderr says."""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("name", REDIRECTIONS)
def test_streams_that_cannot_be_written_are_quiet(name: str) -> None:
    words, code, text = REDIRECTIONS[name]
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m limner methods {words}'], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert text in done.stderr
    assert done.stderr.count("\n") == bool(text)


def test_a_log_on_a_full_disk_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    with progress_on_stderr() as on_progress:
        on_progress(Progress("training", note="a note"))


LONG = "x" * 300


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["sample", LONG], "no run at xxx"),
        (["sample", f"runs/{LONG}"], "no run at runs/xxx"),
        (["report", LONG], "no run at xxx"),
        (["evaluate", LONG, "--data", "digits"], "no run at xxx"),
        (["runs", LONG], "the name is too long"),
        (["runs", "rename", LONG, "x"], "no run at xxx"),
        (["train", "--preset", f"{LONG}.yaml"], "the name is too long"),
        (["train", "digits", "--preset", "vae", "--images", "16", "--name", LONG], "the name is too long"),
        (["data", "check", LONG], "xxx"),
    ],
)
def test_a_name_that_no_file_can_have_is_one_line(
    words: list[str], hint: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = ask(*words, "--json")
    assert code == 2, err
    assert hint in only_object(out)["error"]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no /proc")
@pytest.mark.parametrize(
    "words",
    [
        "train digits --preset vae --images 16 --out /proc/nope",
        "data prepare digits --out /proc/nope",
        "rate PICTURES --data digits --count 2 --out /proc/nope",
        "evaluate PICTURES --data digits --features pixels --metrics frechet --out /proc/nope",
    ],
)
def test_a_place_where_nothing_can_be_made_is_one_line(words: str, ask: Ask, tmp_path: Path) -> None:
    """Also where the folder above is there, as /proc is."""
    np.savez(tmp_path / "pictures.npz", images=np.zeros((40, 8, 8, 1), np.uint8))
    code, out, _ = ask(*words.replace("PICTURES", str(tmp_path / "pictures.npz")).split(), "--json")
    assert code == 2
    assert "cannot write /proc/nope" in only_object(out)["error"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "cannot use a/b: there is no permission"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "xxx"), 2, "the name is too long"),
        (OSError(errno.ELOOP, "Too many levels", "a"), 2, "links there lead in a circle"),
        (OSError(errno.ENOSPC, "No space left on device", "a"), 2, "no space left while writing a"),
        (OSError(errno.EIO, "Input/output error", "a"), 2, "the disk or its connection fails"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), 1, "a fault of limner's own"),
        (OSError(errno.EACCES, "Permission denied"), 1, "a fault of limner's own"),
    ],
)
def test_a_file_that_the_person_can_make_usable_is_2(error: OSError, code: int, words: str, ask: Ask) -> None:
    """Whatever the place in limner where the system refused it."""
    with probe(fail_with(error)):
        result, out, _ = ask("probe", "--json")
    assert result == code
    assert words in only_object(out)["error"]


def test_an_interrupt_of_the_process() -> None:
    code = (
        # A shell's background job ignores SIGINT, and so would its children, this one among them.
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from limner.core import environment\nfrom limner.cli import main\n"
        "def examine(data):\n    print('ready', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "environment.examine = examine\nsys.exit(main(['doctor', '--json']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "limner: interrupted\n"
    assert only_object(out) == {"error": "interrupted"}


def test_the_version(ask: Ask) -> None:
    code, out, _ = ask("--version")
    assert code == 0
    assert out.startswith("limner ")

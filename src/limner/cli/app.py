"""The application of the command line: a command for every row of the table of verbs, and `main`."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from limner.cli.command import help_text, make_command
from limner.cli.door import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER_ERROR, discard_output, exit_with_error
from limner.core.errors import InputError, nearest_name
from limner.core.invocation import COMMAND_WORDS
from limner.core.synonyms import purpose_of, same_meaning, setting_for
from limner.core.table import PackageWarning
from limner.core.verb import option_name, positional
from limner.verbs import GROUPS, SYNONYMS, VERBS

COMMON_FLAGS = ("--json", "-h", "--help")
"""Flags that every verb has."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def make_app(words: Sequence[str]) -> typer.Typer:
    """An application with every verb by its name and help, and with the options of the verb with which `words` begin.

    The options of all would take a third of the time that help may take. Errors: `InputError` where that verb is of an
    installed package that cannot be loaded; without it, such a verb is left out with a warning.
    """
    app = _typer_app("Train, judge and use image generators on your own pictures.")
    groups = {name: _typer_app(text) for name, text in GROUPS.items()}
    chosen_verb = _verb_of(words)
    if chosen_verb is not None:
        VERBS[chosen_verb]  # an error here where it is of a package that cannot be loaded, whose verb is not among those below
    for name, verb in VERBS.items():
        group, _, rest = name.partition(" ")
        owner, own_name = (groups[group], rest) if group in groups else (app, name)
        function = make_command(verb) if name == chosen_verb else _placeholder()
        owner.command(own_name, help=help_text(verb), context_settings=CONTEXT)(function)
    for name, group_app in groups.items():
        app.add_typer(group_app, name=name)
    app.callback()(_root)
    return app


def _typer_app(text: str) -> typer.Typer:
    return typer.Typer(
        name="limner",
        help=text,
        no_args_is_help=False,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich's help costs more time than all the rest of `--help`
        context_settings=CONTEXT,
    )


def _placeholder() -> Callable[[], None]:
    """The function of a verb that is only listed."""

    def nothing() -> None:
        pass

    return nothing


def _verb_of(words: Sequence[str]) -> str | None:
    """The verb with which `words` begin, whose name may have two words; None where there is no such verb."""
    names = [word for word in words if not word.startswith("-")]
    return next((name for name in (" ".join(names[:2]), " ".join(names[:1])) if name in VERBS), None)


def _join_name(words: Sequence[str]) -> list[str]:
    """`words`, with the two words of a name such as ``runs prune`` joined into one, where the first is a verb and no group.

    `COMMON_FLAGS` may stand between the two.

    >>> _join_name(["runs", "--json", "prune", "folder"])
    ['runs prune', '--json', 'folder']
    """
    place = next((place for place, word in enumerate(words) if place and word not in COMMON_FLAGS), None)
    if place is None or words[0] in GROUPS or (name := f"{words[0]} {words[place]}") not in VERBS:
        return list(words)
    return [name, *words[1:place], *words[place + 1 :]]


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from limner.core.environment import version

        print(f"limner {version('limner')}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
) -> None:
    """Train, judge and use image generators on your own pictures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1, 2 or 130 (see `limner.cli.door`).

    `arguments` are the words of the command without the name of the program; None: those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files that are not UTF-8 are shown as escapes, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _warnings_in_one_line(), _signals_as_interruptions():
            code = _run(words or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed its end, as in `limner runs | head`. Without this, Python would print an error as it exits.
        discard_output(sys.stdout)
        discard_output(sys.stderr)
        return EXIT_FAILED
    except OSError as error:  # of writing to stdout: all else was handled by the door
        discard_output(sys.stdout)
        print(f"limner: nothing can be written to standard output: {error.strerror}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    return code


def _open_closed_streams() -> None:
    """Opens the null device for each standard stream that the caller has closed, as ``limner methods >&-`` does.

    Python has None in their place, and the next file that is opened would get the number that libraries print to.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115  # as long as the process lives


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Inside, a warning about an installed package is a line like an error's, without the place in limner's code."""
    usual = warnings.formatwarning

    def format_warning(message: Warning | str, category: type[Warning], *place: Any, **keywords: Any) -> str:
        return f"limner: {message}\n" if issubclass(category, PackageWarning) else usual(message, category, *place, **keywords)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = usual


@contextmanager
def _signals_as_interruptions() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP are interruptions as Ctrl-C is, unless they are ignored, as SIGHUP is under `nohup`."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    numbers = [number for number in map(signal.Signals.__getitem__, names) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    command = COMMAND_WORDS.set(tuple(words))
    words = _join_name(words)
    try:
        try:
            code = make_app(words)(args=words, prog_name="limner", standalone_mode=False)
        except typer.TyperException as error:  # an unknown verb or option, or a value of the wrong kind
            exit_with_error(_usage_message(error, words), code=EXIT_USER_ERROR, as_json=as_json)
        except InputError as error:  # an installed package whose verb or method cannot be loaded
            exit_with_error(str(error), code=EXIT_USER_ERROR, as_json=as_json)
        except (typer.Abort, KeyboardInterrupt) as error:
            by = f" by {error}" if str(error) else ""
            exit_with_error(f"interrupted{by}", code=EXIT_INTERRUPTED, as_json=as_json)
    except typer.Exit as end:
        return end.exit_code
    finally:
        COMMAND_WORDS.reset(command)
    return code if isinstance(code, int) else 0


def _usage_message(error: typer.TyperException, words: Sequence[str]) -> str:
    """Typer's message, with the command that prints the help, unless it proposes a name itself.

    For a verb or an option that does not exist, the one that is nearest in meaning is proposed.
    """
    message = error.format_message().rstrip(".")
    if match := re.search(r"No such command '([^']*)'", message):
        return _unknown_verb(match[1], words)
    if match := re.search(r"No such option: (-[\w-]+)", message):
        return _unknown_option(match[1], words)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "limner"
    return message if message.endswith("?") else f"{message}; see '{path} --help'"


def _unknown_verb(name: str, words: Sequence[str]) -> str:
    """The message about a verb that does not exist, or the second word of one."""
    first = next((word for word in words if not word.startswith("-")), "")
    group = first if first in GROUPS and first != name else ""
    typed = f"{group} {name}".strip()
    verbs = [verb for verb in VERBS if verb.startswith(f"{group} ")] if group else list(VERBS)
    by_synonym = next((verb for verb in verbs if name.lower() in SYNONYMS.get(verb, "").split()), None)
    purpose = None if by_synonym is not None or group else purpose_of(name)
    if purpose is not None:
        return f"No such command '{typed}': nothing here {purpose}; see 'limner --help' for what there is"
    proposal = by_synonym or nearest_name(typed, verbs)
    see = f"'limner {group} --help'" if group else "'limner --help'"
    hint = f"; see {see}" if proposal is None else f". Did you mean '{proposal.removeprefix(f'{group} ')}'?"
    return f"No such command '{name}'{hint}"


def _unknown_option(option: str, words: Sequence[str]) -> str:
    """The message about an option that the verb does not have."""
    name = _verb_of(words)
    if name is None:
        return f"No such option: {option}; see 'limner --help'"
    request = VERBS[name].request
    fields = [field for field in [*request.model_fields, *request.open_fields()] if field not in positional(request)]
    names = [option_name(request, field).partition("/")[0].removeprefix("--").replace("-", "_") for field in fields]
    nearest_option = nearest_name(option.strip("-").replace("-", "_"), [*names, "json", "help"])
    setting = setting_for(option) if "settings" in request.model_fields else None
    if setting is not None and same_meaning(option, names) is None and nearest_option not in names:
        return f"No such option: {option}; did you mean the setting {setting}=…?"
    see = f"see 'limner {name} --help'"
    hint = see if nearest_option is None else f"did you mean --{nearest_option.replace('_', '-')}?"
    return f"No such option: {option}; {hint}"

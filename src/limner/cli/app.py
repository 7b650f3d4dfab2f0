"""The application: the table of verbs, and the one way in and out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from limner.cli import latent, look, make, prepare, rate
from limner.cli.door import FAILED, INTERRUPTED, MENDABLE, complain

app = typer.Typer(
    name="limner",
    help="Train, judge and use image generators on your own pictures.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help costs more time than all the rest of `--help`
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("doctor")(look.doctor)
app.add_typer(prepare.app, name="data")
app.command("methods")(look.methods)
app.command("train")(make.train)
app.command("resume")(make.resume)
app.command("sample")(make.sample)
app.command("reconstruct")(latent.reconstruct)
app.command("interpolate")(latent.interpolate)
app.command("traverse")(latent.traverse)
app.command("embed")(latent.embed)
app.command("classify")(latent.classify)
app.command("evaluate")(look.evaluate)
app.command("compare")(look.compare)
app.command("rate")(rate.rate)
app.command("runs")(look.runs)
app.command("report")(look.report)


def _version(is_given: bool) -> None:
    if is_given:
        from limner.core.environment import version

        print(f"limner {version('limner')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Train, judge and use image generators on your own pictures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1, 2 or 130 (see `limner.cli.door`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`limner runs | head`): quietly stop, and keep Python from complaining as it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    try:
        try:
            code = app(args=words, prog_name="limner", standalone_mode=False)
        except typer.TyperException as error:  # an unknown verb or option, or a value of the wrong kind
            complain(_usage(error), code=MENDABLE, as_json=as_json)
        except (typer.Abort, KeyboardInterrupt):
            complain("interrupted", code=INTERRUPTED, as_json=as_json)
    except typer.Exit as leave:
        return leave.exit_code
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "limner"
    return message if message.endswith("?") else f"{message}; see '{path} --help'"

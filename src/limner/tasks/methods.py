"""Verb: list the methods and presets."""

from __future__ import annotations

from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class MethodsRequest(Request):
    """List the methods and presets, with their papers."""


class MethodsResult(Result):
    """`methods` has a row for every preset: `name`, `family`, `line` (what it is) and `paper`."""

    methods: list[dict[str, str]]


def methods(request: MethodsRequest, on_progress: OnProgress) -> MethodsResult:
    """Lists the presets in alphabetical order, those of installed packages among them."""
    from limner.recipes.registry import methods_table

    return MethodsResult(methods=methods_table())

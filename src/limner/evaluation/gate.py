"""Gates: conditions on scores under which `evaluate` and `compare` exit with code 3, for continuous integration.

A condition is written as in Python, of comparisons, ``and``, ``or``, ``not``, arithmetic and names. ``frechet`` is the value of
a score, ``frechet.z`` one of its other numbers. In `compare`, ``first.frechet`` and ``last.frechet`` are those of the first and
the last run that are named, and a condition without them holds where it holds for any run.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.core.errors import InputError, nearest, short_repr
from limner.core.invocation import option

FIELDS = ("value", "error", "null", "z", "p")
"""The numbers of a score."""
ENDS = ("first", "last")
"""Names of the runs of a comparison."""
MAX_LENGTH = 1000
"""The largest number of characters of a condition, which bounds how deeply it is nested."""

Scores = Mapping[str, Mapping[str, Any]]
"""Name of a metric -> its numbers, as the reports of `evaluate` hold them."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Gate:
    """A condition on scores, read by `parse_gate`."""

    text: str
    condition: ast.expr
    names: tuple[tuple[str, ...], ...]
    """Every name in it, in parts: ``first.frechet.p`` is ("first", "frechet", "p")."""

    @property
    def metrics(self) -> frozenset[str]:
        """The names of the metrics that it needs."""
        return frozenset(_metric(parts) for parts in self.names)

    def check_metrics(self, names: Sequence[str]) -> None:
        """Refuses a gate on a metric that is not among `names`, those that will be measured. Errors: `InputError`."""
        for metric in sorted(self.metrics - set(names)):
            raise InputError(
                f"{option('fail_if')} names {metric!r}, which is not measured here{nearest(metric, names)} "
                f"(measured: {', '.join(names)})"
            )

    def answer(self, scores: Scores, first: Scores | None = None, last: Scores | None = None) -> bool:
        """Whether the condition holds for `scores`.

        Errors: `InputError` for a score without such a number, and for a comparison that could never hold: a p below the
        smallest that the draws of its null allow.
        """
        return bool(_evaluate(self.condition, {"": scores, "first": first or {}, "last": last or {}}))


def parse_gate(text: str, ends: bool = False) -> Gate:
    """Reads a condition; `ends` says whether it may name ``first`` and ``last``.

    Errors: `InputError` for text that is no condition, or does anything but compare numbers.

    >>> gate = parse_gate("frechet > 20 or coverage < .5")
    >>> sorted(gate.metrics)
    ['coverage', 'frechet']
    >>> gate.answer({"frechet": {"value": 8.0}, "coverage": {"value": 0.4}})
    True
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"{option('fail_if')} has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    try:
        condition = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{option('fail_if')} {short_repr(text)} is no condition; write for example 'frechet>20 or coverage<.5'"
        ) from error
    if not _is_condition(condition):
        raise InputError(
            f"{option('fail_if')} {short_repr(text)} compares nothing; write for example 'frechet>20 or coverage<.5'"
        )
    names: list[tuple[str, ...]] = []
    _collect(condition, names, ends)
    if not names:
        raise InputError(f"{option('fail_if')} {short_repr(text)} names no score; write for example 'frechet>20'")
    return Gate(text.strip(), condition, tuple(dict.fromkeys(names)))


def gate_of_comparison(gate: Gate, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry ``gate`` of a comparison: the condition, whether it `holds`, and the names of the runs for which it does."""
    first, last = rows[0]["metrics"], rows[-1]["metrics"]
    alike = all(parts[0] in ENDS for parts in gate.names)
    runs = [row["name"] for row in (rows[-1:] if alike else rows) if gate.answer(row["metrics"], first, last)]
    return {"condition": gate.text, "holds": bool(runs), "runs": [] if alike else runs}


def _metric(parts: Sequence[str]) -> str:
    return parts[1] if parts[0] in ENDS else parts[0]


def _is_condition(node: ast.expr) -> bool:
    """Whether `node` is true or false, and no number."""
    if isinstance(node, ast.BoolOp):
        return all(map(_is_condition, node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_condition(node.operand)
    return isinstance(node, ast.Compare)


def _collect(node: ast.expr, names: list[tuple[str, ...]], ends: bool) -> None:
    """Adds the names in `node` to `names`. Errors: `InputError` for what a condition may not have."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _collect(value, names, ends)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        _collect(node.operand, names, ends)
    elif isinstance(node, ast.Compare) and all(type(one) in _COMPARISONS for one in node.ops):
        for value in (node.left, *node.comparators):
            if _is_condition(value):
                raise InputError(f"{option('fail_if')} compares a comparison; join comparisons by and, or")
            _collect(value, names, ends)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _collect(node.left, names, ends)
        _collect(node.right, names, ends)
    elif isinstance(node, ast.Name | ast.Attribute):
        names.append(_parts(node, ends))
    elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        raise InputError(
            f"{option('fail_if')} cannot read {short_repr(ast.unparse(node))}; it takes names, numbers, "
            "< <= > >= and or not + - * /"
        )


def _parts(node: ast.expr, ends: bool) -> tuple[str, ...]:
    """The parts of a name. Errors: `InputError` for one that is no score's."""
    parts: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        parts.insert(0, inner.attr)
        inner = inner.value
    name = ast.unparse(node)
    if not isinstance(inner, ast.Name):
        raise InputError(f"{option('fail_if')} cannot read {short_repr(name)}; a name is written such as frechet or frechet.z")
    parts.insert(0, inner.id)
    rest = parts[1:] if ends and parts[0] in ENDS else parts
    if not 1 <= len(rest) <= 2 or rest[0] in ENDS:
        start = "first.frechet or last.frechet" if ends else "frechet; first and last are for limner compare"
        raise InputError(f"{option('fail_if')} cannot read {name!r}; a name is written such as frechet, frechet.z, {start}")
    if len(rest) == 2 and rest[1] not in FIELDS:
        raise InputError(
            f"{option('fail_if')}: a score has no {rest[1]!r}{nearest(rest[1], FIELDS)} (there are: {', '.join(FIELDS)})"
        )
    return tuple(parts)


def _evaluate(node: ast.expr, scores: Mapping[str, Scores]) -> float | bool:
    """The value of `node`; `scores` are those of "first", of "last" and, under "", of the run itself."""
    if isinstance(node, ast.BoolOp):
        values = [bool(_evaluate(value, scores)) for value in node.values]  # all of them, so that every error is seen
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, scores)
        return not value if isinstance(node.op, ast.Not) else -value
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        numbers = [_evaluate(side, scores) for side in sides]
        _check_floor(node, sides, numbers, scores)
        pairs = zip(node.ops, numbers, numbers[1:], strict=False)
        return all(_COMPARISONS[type(one)](left, right) for one, left, right in pairs)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, scores), _evaluate(node.right, scores)
        if isinstance(node.op, ast.Div) and right == 0:
            raise InputError(f"{option('fail_if')} divides by {ast.unparse(node.right)}, which is 0")
        return _ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # `_collect` let only numbers pass
    parts = _parts(node, ends=True)
    number = _score(parts, scores).get(parts[-1] if parts[-1] in FIELDS and _metric(parts) != parts[-1] else "value")
    if number is None or not math.isfinite(number):
        raise InputError(
            f"{option('fail_if')}: {'.'.join(parts)} is {'missing' if number is None else number}, so there is no answer"
        )
    return float(number)


def _score(parts: Sequence[str], scores: Mapping[str, Scores]) -> Mapping[str, Any]:
    """The score that a name means. Errors: `InputError` where it was not measured."""
    own = scores[parts[0] if parts[0] in ENDS else ""]
    if _metric(parts) not in own:
        raise InputError(f"{option('fail_if')}: {'.'.join(parts)} was not measured (measured: {', '.join(own) or 'nothing'})")
    return own[_metric(parts)]


def _check_floor(node: ast.Compare, sides: Sequence[ast.expr], numbers: Sequence[float], scores: Mapping[str, Scores]) -> None:
    """Errors: `InputError` for a comparison of a p with a bound that it cannot fall below, whatever the pictures are."""
    for one, left, right in zip(node.ops, range(len(sides)), range(1, len(sides)), strict=False):
        small, large = (left, right) if isinstance(one, ast.Lt | ast.LtE) else (right, left)
        name = sides[small]
        if not isinstance(name, ast.Attribute) or name.attr != "p":
            continue
        parts = _parts(name, ends=True)
        floor, bound = _score(parts, scores).get("p_floor"), numbers[large]
        if floor is not None and (bound < floor or (bound == floor and isinstance(one, ast.Lt | ast.Gt))):
            raise InputError(
                f"{option('fail_if')}: {'.'.join(parts)} is never below {floor:.2g} (1 / (1 + draws of the null)), so it "
                f"cannot be below {bound:g}; use {'.'.join(parts[:-1])}.z, such as {'.'.join(parts[:-1])}.z > 4"
            )

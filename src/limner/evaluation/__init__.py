"""Judging: numbers for pictures and for models, each beside what real pictures get, and pages that show them."""

from limner.evaluation.comparison import compare
from limner.evaluation.references import judge_for
from limner.evaluation.verb import evaluate

__all__ = ["compare", "evaluate", "judge_for"]

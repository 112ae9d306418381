"""Evaluations: an agent answers cases, scorers say how well, and a report counts it."""

from opspawn.testing.evals.cases import Case, Evaluation, Outcome, Score, Scorer
from opspawn.testing.evals.report import Difference, Finished, Report, compare
from opspawn.testing.evals.running import evaluate
from opspawn.testing.evals.scorers import contains, exact, function, json_subset, judge, regex

__all__ = [
    "Case",
    "Difference",
    "Evaluation",
    "Finished",
    "Outcome",
    "Report",
    "Score",
    "Scorer",
    "compare",
    "contains",
    "evaluate",
    "exact",
    "function",
    "json_subset",
    "judge",
    "regex",
]

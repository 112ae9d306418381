"""`opspawn eval`: how well an agent answers, case by case, and whether it got better."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import click

from opspawn.cli.assemble import find_app, start_logs
from opspawn.cli.commands import tokens_of
from opspawn.cli.lazy import FAILED, OK
from opspawn.cli.output import configuration, json_option, say
from opspawn.cli.tables import print_table
from opspawn.errors import InvalidInput
from opspawn.opening import load_plugins, new_kit
from opspawn.testing.evals import Evaluation, Finished, Report, compare, evaluate
from opspawn.testing.evals.files import load_evaluation
from opspawn.testing.evals.report import read_results


@click.command("eval")
@click.argument("target", metavar="FILE|MODULE[:NAME]")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="How many cases at once.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Keep results here; go on with them.")
@click.option("--again", is_flag=True, help="Run all cases, also those with results.")
@click.option(
    "--compare", "former", type=click.Path(dir_okay=False, path_type=Path), help="Results to compare with, by case."
)
@click.option("--threshold", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share that must pass.")
@click.option("--case", "cases", multiple=True, help="Only this case. Repeatable.")
@click.option("--label", "labels", multiple=True, help="Only cases with this label. Repeatable.")
@click.option("--model", metavar="PROVIDER:MODEL", help="Another model than the agent's.")
@json_option
@click.pass_context
def evaluation(
    context: click.Context,
    target: str,
    parallel: int,
    results: Path | None,
    again: bool,
    former: Path | None,
    threshold: float,
    cases: tuple[str, ...],
    labels: tuple[str, ...],
    model: str | None,
    as_json: bool,
) -> None:
    """Ask an agent every case of an evaluation, and score the answers.

    FILE is YAML or JSON with agent, scorers and cases; MODULE holds an Evaluation. Exit code 1: fewer cases passed than
    the threshold wants.

    \b
    opspawn eval evals/tokens.yaml --results evals/tokens.jsonl
    opspawn eval evals.py:tokens --label smoke --threshold 0.9
    opspawn eval evals/tokens.yaml --compare evals/last-week.jsonl --model openai:gpt-5-mini
    """
    loaded = configuration()
    start_logs(loaded)
    chosen = _chosen(load_evaluation(target, Path.cwd(), lambda: find_app(None, loaded)), cases, labels)
    before = None if former is None else read_results(former)
    shows = None if as_json else _tell

    async def run() -> Report:
        kit = new_kit(loaded, load_plugins(loaded))
        try:
            return await evaluate(
                chosen, parallel=parallel, results=results, again=again, kit=kit, model=model, on_result=shows
            )
        finally:
            await kit.aclose()

    report = asyncio.run(run())
    _print(report, before, as_json)
    context.exit(OK if report.rate >= threshold else FAILED)


def _chosen(whole: Evaluation, cases: tuple[str, ...], labels: tuple[str, ...]) -> Evaluation:
    names = [case.name for case in whole.cases]
    if missing := [name for name in cases if name not in names]:
        raise InvalidInput(f"There is no case {missing[0]!r}.", remedy=f"There are: {', '.join(names)}.")
    left = [
        case
        for case in whole.cases
        if (not cases or case.name in cases) and (not labels or set(labels) & set(case.labels))
    ]
    if not left:
        there = sorted({label for case in whole.cases for label in case.labels})
        raise InvalidInput(f"No case has the label {labels[0]!r}.", remedy=f"There are: {', '.join(there) or 'none'}.")
    return replace(whole, cases=left)


def _tell(result: Finished) -> None:
    mark = "✓" if result.passed else "✗"
    say(f"{mark} {result.name}{' (kept)' if result.kept else f' ({result.duration_s:.1f} s)'}", dim=True)


def _print(report: Report, before: list[Finished] | None, as_json: bool) -> None:
    changes = [] if before is None else compare(before, report)
    if as_json:
        told = report.to_json()
        if before is not None:
            told["changes"] = [
                {"name": one.name, "before": one.before, "after": one.after, "worse": one.worse} for one in changes
            ]
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    rows = [["passed" if one.passed else "failed", one.name, f"{one.score:.2f}", one.why] for one in report.results]
    print_table(["result", "case", "score", "why"], rows)
    if before is not None:
        say(f"Changed since then: {len(changes) or 'nothing'}.")
        for one in changes:
            say(f"  {'worse' if one.worse else 'other'}: {one.name}, {_number(one.before)} → {_number(one.after)}")
    total = f"{report.passed} of {len(report.results)} passed ({report.rate:.0%}), mean score {report.score:.2f}"
    say(f"{total}; {tokens_of(report.usage)}.")


def _number(score: float | None) -> str:
    return "none" if score is None else f"{score:.2f}"

"""The quickstart's tools and its hand-written answers, checked on the real tickets and the real handbook."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
VERDICTS: list[dict[str, str]] = json.loads((EXAMPLE / "verdicts.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, so that reports of a test never land in the repository."""
    copy = tmp_path / "quickstart"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("reports", ".opspawn", "__pycache__"))
    return copy


@pytest.fixture
def app(folder: Path) -> Iterator[ModuleType]:
    yield from _module(folder / "app.py")


@pytest.fixture
def script() -> Iterator[ModuleType]:
    yield from _module(EXAMPLE / "script.py")


def _module(path: Path) -> Iterator[ModuleType]:
    name = f"quickstart_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


def _verdict(id: str = "HD-1001", **changes: Any) -> dict[str, Any]:
    verdict = {"category": "sign-in", "priority": "P3", "summary": "S.", "next_step": "N.", "handbook": "accounts.md"}
    return {"id": id, **verdict, **changes}


# -- search_handbook


@pytest.mark.parametrize(
    ("question", "page", "heading"),
    [
        ("reset a token", "tokens.md", "Reset a token"),
        ("How do I reset a token?", "tokens.md", "Reset a token"),
        ("my tokens expired", "tokens.md", "Expired tokens"),
        ("password reset", "accounts.md", "Reset a password"),
        ("WHO DO I CALL ABOUT OUTAGES", "incidents.md", "Who to call about an outage"),
        ("refunds", "billing.md", "Refund policy"),
        ("deleting personal data", "data-and-privacy.md", "Delete personal data"),
    ],
)
async def test_search_puts_the_section_on_the_matter_first(
    app: ModuleType, question: str, page: str, heading: str
) -> None:
    found = await app.search_handbook(question)

    assert (found[0]["page"], found[0]["heading"]) == (page, heading)
    assert found[0]["text"]


async def test_search_gives_the_same_sections_in_the_same_order_every_time(app: ModuleType) -> None:
    assert await app.search_handbook("account", 10) == await app.search_handbook("account", 10)


async def test_search_for_words_that_no_page_has_finds_nothing(app: ModuleType) -> None:
    assert await app.search_handbook("weather in paris") == []


async def test_search_for_nothing_but_small_words_finds_nothing(app: ModuleType) -> None:
    assert await app.search_handbook("how do I do it?") == []


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (2, 2), (0, 1), (-5, 1), (1000, 10)])
async def test_search_returns_one_to_ten_sections(app: ModuleType, limit: int, count: int) -> None:
    assert len(await app.search_handbook("account password mail token", limit)) == count


# -- list_tickets and read_ticket


async def test_tickets_are_listed_sorted_by_id(app: ModuleType) -> None:
    assert await app.list_tickets() == [f"HD-{number}" for number in range(1001, 1031)]


async def test_every_ticket_has_a_complete_head_and_a_body(app: ModuleType) -> None:
    for id in await app.list_tickets():
        ticket = await app.read_ticket(id)

        assert ticket["id"] == id
        assert re.fullmatch(r"[\w.-]+@example\.(com|org)", ticket["from"])
        assert re.fullmatch(r"2026-11-\d\dT\d\d:\d\d:00Z", ticket["date"])
        assert re.match(r"[^'\s]", ticket["subject"])
        assert 4 <= len(ticket["body"].splitlines()) <= 20


async def test_a_ticket_is_read_from_another_folder_of_the_example(app: ModuleType, folder: Path) -> None:
    (folder / "more").mkdir()
    shutil.copy(folder / "tickets" / "HD-1004.md", folder / "more" / "HD-2000.md")

    assert await app.list_tickets("more") == ["HD-2000"]
    assert (await app.read_ticket("HD-2000", "more"))["subject"] == "VPN drops every ten minutes"


@pytest.mark.parametrize("id", ["HD-9999", "", "../handbook/tokens", "HD-1001.md", "/etc/passwd", "HD-1001\x00"])
async def test_an_id_that_is_no_ticket_is_refused_by_name(app: ModuleType, id: str) -> None:
    with pytest.raises(LookupError, match=re.escape(f"There is no ticket {id!r}")):
        await app.read_ticket(id)


@pytest.mark.parametrize("outside", ["..", "/etc", "tickets/../..", "../quickstart-other"])
async def test_a_folder_outside_the_example_is_refused(app: ModuleType, outside: str) -> None:
    with pytest.raises(ValueError, match="lies outside the example"):
        await app.list_tickets(outside)
    with pytest.raises(ValueError, match="lies outside the example"):
        await app.read_ticket("passwd", outside)


async def test_a_folder_that_is_not_there_is_named(app: ModuleType) -> None:
    with pytest.raises(LookupError, match="There is no folder 'nowhere'"):
        await app.list_tickets("nowhere")


async def test_a_ticket_that_is_a_link_out_of_the_folder_is_not_read(app: ModuleType, folder: Path) -> None:
    secret = folder.parent / "secret.md"
    secret.write_text("---\nsubject: secret\n---\n")
    (folder / "tickets" / "HD-6666.md").symlink_to(secret)

    with pytest.raises(LookupError, match="There is no ticket 'HD-6666'"):
        await app.read_ticket("HD-6666")


async def test_a_ticket_without_a_head_is_named(app: ModuleType, folder: Path) -> None:
    (folder / "tickets" / "HD-7777.md").write_text("Just a text.\n")

    with pytest.raises(ValueError, match="'HD-7777' does not begin with a head"):
        await app.read_ticket("HD-7777")


# -- write_report


async def test_the_report_of_all_verdicts_counts_and_groups_by_priority(app: ModuleType, folder: Path) -> None:
    tickets = await app.list_tickets()

    receipt = await app.write_report("reports/triage.md", json.dumps(VERDICTS), tickets)

    assert receipt == {
        "path": "reports/triage.md",
        "tickets": 30,
        "priorities": {"P1": 5, "P2": 8, "P3": 12, "P4": 5},
        "missing": [],
    }
    report = (folder / "reports" / "triage.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", report, re.MULTILINE) == ["P1 (5)", "P2 (8)", "P3 (12)", "P4 (5)"]
    assert sorted(re.findall(r"^\| (HD-\d+) \|", report, re.MULTILINE)) == tickets


async def test_the_same_triage_in_any_order_gives_the_same_bytes(app: ModuleType, folder: Path) -> None:
    await app.write_report("reports/one.md", json.dumps(VERDICTS))
    await app.write_report("reports/two.md", VERDICTS[::-1])
    await app.write_report("reports/two.md", VERDICTS[::-1])

    assert (folder / "reports" / "one.md").read_bytes() == (folder / "reports" / "two.md").read_bytes()
    assert sorted(file.name for file in (folder / "reports").iterdir()) == ["one.md", "two.md"]


async def test_tickets_without_a_verdict_are_listed(app: ModuleType, folder: Path) -> None:
    receipt = await app.write_report("reports/triage.md", [_verdict()], ["HD-1001", "HD-1003", "HD-1002"])

    assert receipt["missing"] == ["HD-1002", "HD-1003"]
    report = (folder / "reports" / "triage.md").read_text(encoding="utf-8")
    assert report.endswith("## Not triaged (2)\n\n- HD-1002\n- HD-1003\n")


async def test_a_fence_around_the_json_does_no_harm(app: ModuleType) -> None:
    receipt = await app.write_report("reports/triage.md", f"```json\n{json.dumps([_verdict()])}\n```\n")

    assert receipt["tickets"] == 1


async def test_bars_and_line_breaks_cannot_break_the_table(app: ModuleType, folder: Path) -> None:
    await app.write_report("reports/triage.md", [_verdict(summary="a | b\n| c |")])

    report = (folder / "reports" / "triage.md").read_text(encoding="utf-8")
    assert r"| HD-1001 | sign-in | a \| b \| c \| | N. | accounts.md |" in report.splitlines()


@pytest.mark.parametrize(
    "path",
    [
        "../triage.md",
        "reports/../app.py",
        "/tmp/triage.md",
        "triage.md",
        "reports/../../x.md",
        "reports/x.txt",
        "reports",
    ],
)
async def test_a_report_outside_its_folder_is_refused_and_nothing_is_written(
    app: ModuleType, folder: Path, path: str
) -> None:
    before = sorted(folder.parent.rglob("*"))

    with pytest.raises(ValueError, match=r"must be a \.md file below reports/"):
        await app.write_report(path, [_verdict()])

    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("triage", "words"),
    [
        ("I could not decide.", "The triage is not JSON: Expecting value: line 1 column 1"),
        ("[]", "must be a JSON array with one object per ticket"),
        ('{"id": "HD-1001"}', "must be a JSON array with one object per ticket"),
        ("[1]", "entry 1 is not an object"),
        ('[{"id": "HD-1001"}]', "entry 1 has no text for category, priority, summary, next_step, handbook"),
        (json.dumps([_verdict(priority="high")]), "entry 1 has priority 'high', not P1 to P4"),
        (json.dumps([_verdict(), _verdict()]), "entry 2 is about HD-1001 again"),
    ],
)
async def test_a_triage_that_does_not_fit_is_refused_in_words(app: ModuleType, triage: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        await app.write_report("reports/triage.md", triage)


# -- the tools as agents and workflows see them


def test_each_tool_declares_what_a_repeated_call_does(app: ModuleType) -> None:
    effects = {
        one.name: one.effect for one in (app.search_handbook, app.list_tickets, app.read_ticket, app.write_report)
    }

    assert effects == {
        "search_handbook": "read",
        "list_tickets": "read",
        "read_ticket": "read",
        "write_report": "idempotent",
    }


# -- the answers written by hand


def test_there_is_one_verdict_per_ticket_and_it_names_a_page_of_the_handbook() -> None:
    assert [verdict["id"] for verdict in VERDICTS] == sorted(file.stem for file in (EXAMPLE / "tickets").iterdir())
    for verdict in VERDICTS:
        assert (EXAMPLE / "handbook" / verdict["handbook"]).is_file()


async def test_every_answer_of_the_helper_cites_sections_that_its_own_searches_found(
    app: ModuleType, script: ModuleType
) -> None:
    for question, answer in script.ANSWERS.items():
        found = [section for query in answer["queries"] for section in await app.search_handbook(query)]

        cited = re.findall(r"([\w-]+\.md), ([^;)]+)", answer["text"])
        assert cited, question
        for page, heading in cited:
            assert (page, heading) in [(section["page"], section["heading"]) for section in found], question


def test_the_readme_lists_exactly_the_questions_that_are_recorded(script: ModuleType) -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"^- (.*\?)$", readme, re.MULTILINE) == list(script.ANSWERS)

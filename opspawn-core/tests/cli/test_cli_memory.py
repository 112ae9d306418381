"""`opspawn memory`: what it prints, what it keeps and forgets, and what it refuses in one line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main
from opspawn.cli.written import written
from opspawn.errors import MemoryFailed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, ["memory", *args], prog_name="opspawn")


def told(*args: str) -> Any:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def kept(*args: str) -> list[str]:
    return [item["text"] for item in told("list", *args)["items"]]


@pytest.fixture
def facts() -> list[str]:
    """Two facts of Ada, one of Bob; their ids."""
    added = [
        told("add", "Ada likes tea.", "-n", "user:ada", "--subject", "tea", "--metadata", '{"kind": "taste"}'),
        told("add", "Ada lives in Bern.", "-n", "user:ada", "-n", "home", "--confidence", "0.5", "--source", "profile"),
        told("add", "Bob hates tea.", "-n", "user:bob", "--subject", "tea", "--ttl", "30d"),
    ]
    return [one["id"] for one in added]


def test_what_was_added_is_listed_the_newest_first(facts: list[str]) -> None:
    assert kept() == ["Bob hates tea.", "Ada lives in Bern.", "Ada likes tea."]
    assert kept("-n", "user:ada") == ["Ada lives in Bern.", "Ada likes tea."]
    assert kept("-n", "user:ada", "--exact") == ["Ada likes tea."]
    assert kept("--filter", '{"field": "kind", "exists": true}') == ["Ada likes tea."]
    assert kept("--older-than", "1d") == []
    assert invoke("list").stdout.splitlines()[1].split("\t")[1:4] == ["user:bob", "Bob hates tea.", "tea"]


def test_the_same_again_is_known_already(facts: list[str]) -> None:
    result = invoke("add", "ada likes TEA.", "-n", "user:ada", "--subject", "tea")
    assert (result.stdout.strip(), "known already" in result.stderr) == (facts[0], True)


def test_pages_are_gone_through_by_their_cursor(facts: list[str]) -> None:
    page = told("list", "--limit", "2")
    assert [item["text"] for item in told("list", "--limit", "2", "--cursor", page["cursor"])["items"]] == [
        "Ada likes tea."
    ]


def test_a_search_says_how_near_and_why(facts: list[str]) -> None:
    [first, *_] = told("search", "Who likes tea?", "-n", "user:ada")
    assert (first["item"]["text"], first["score"], first["why"]["words"]) == ("Ada likes tea.", 1.0, ["like", "tea"])
    assert "Bob" not in invoke("search", "tea", "-n", "user:ada").output
    assert told("search", "tea", "--min-score", "1", "--limit", "1")[0]["score"] == 1.0


def test_one_is_shown_with_its_source(facts: list[str]) -> None:
    shown = told("show", facts[1])
    assert (shown["namespace"], shown["confidence"]) == (["user:ada", "home"], 0.5)
    assert shown["provenance"]["source"] == "profile"
    assert "Ada lives in Bern." in invoke("show", facts[1]).stdout


def test_stats_count_by_namespace(facts: list[str]) -> None:
    assert told("stats")["namespaces"][0]["items"] == 1
    assert told("stats", "-n", "user:ada")["items"] == 2
    assert "3 memories" in invoke("stats").stderr


def test_what_is_forgotten_is_gone(facts: list[str], folder: Path) -> None:
    assert told("forget", facts[1], "--dry-run") == {"forgotten": 1, "dryRun": True}
    assert told("forget", facts[1])["forgotten"] == 1
    assert told("forget", "--subject", "tea", "-n", "user:bob")["forgotten"] == 1
    assert kept() == ["Ada likes tea."]
    assert invoke("forget", "--all").exit_code == 0
    assert kept() == []
    assert b"Bern" not in (folder / ".opspawn" / "memory.db").read_bytes()


def test_an_export_is_imported_as_it_was_and_only_once(facts: list[str], folder: Path) -> None:
    before = told("list")
    assert invoke("export", "kept.jsonl").exit_code == 0
    invoke("forget", "--all")
    assert told("import", "kept.jsonl") == {"new": 3, "known": 0, "expired": 0}
    assert told("import", "kept.jsonl") == {"new": 0, "known": 3, "expired": 0}
    after = told("list")
    key = "text"
    assert sorted(after["items"], key=lambda one: one[key]) == sorted(before["items"], key=lambda one: one[key])
    assert len(invoke("export", "-", "-n", "user:ada").stdout.splitlines()) == 2


def test_an_import_says_what_had_expired_and_keeps_none_of_it(folder: Path) -> None:
    lines = [
        {"text": "Old and secret.", "namespace": ["a"], "id": "o-1", "expires": "2020-01-01T00:00:00Z"},
        {"text": "Still true.", "namespace": ["a"], "id": "n-1", "expires": "2100-01-01T00:00:00Z"},
    ]
    (folder / "kept.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert told("import", "kept.jsonl") == {"new": 1, "known": 0, "expired": 1}
    assert invoke("import", "kept.jsonl").stderr == (
        "Imported 0; 1 were there already. 1 had expired, and was left out.\n"
    )
    assert kept() == ["Still true."]
    assert not any(b"secret" in file.read_bytes() for file in (folder / ".opspawn").iterdir())


def test_an_export_of_nothing_leaves_the_old_file_and_one_that_breaks_off_does_too(
    facts: list[str], folder: Path
) -> None:
    old = folder / "kept.jsonl"
    assert invoke("export", "kept.jsonl").exit_code == 0
    before = old.read_bytes()
    result = invoke("export", "kept.jsonl", "--subject", "nope")
    assert (result.exit_code, old.read_bytes()) == (2, before)
    assert result.stderr.startswith("Error: Nothing fits, so 'kept.jsonl' was left as it is.")

    def break_off() -> None:
        with written("kept.jsonl") as out:
            out.write("half of it")
            out.flush()
            raise MemoryFailed("The disk is gone.")

    with pytest.raises(MemoryFailed):
        break_off()
    assert old.read_bytes() == before
    assert [one.name for one in folder.iterdir() if "kept" in one.name] == ["kept.jsonl"]


def test_an_export_goes_into_a_link_and_a_device(facts: list[str], folder: Path) -> None:
    (folder / "link").symlink_to("real.jsonl")
    (folder / "real.jsonl").touch(mode=0o640)
    assert invoke("export", "link").exit_code == 0
    assert (folder / "link").is_symlink()
    assert len((folder / "real.jsonl").read_text().splitlines()) == 3
    assert (folder / "real.jsonl").stat().st_mode & 0o777 == 0o640
    assert invoke("export", "/dev/null").stderr == "Exported 3 memories.\n"
    assert "'no/kept.jsonl' cannot be written: No such file or directory." in invoke("export", "no/kept.jsonl").stderr


def test_an_id_of_several_namespaces_is_forgotten_only_where_it_is_meant(folder: Path) -> None:
    lines = [{"text": f"Of {name}.", "namespace": [name], "id": "x-1"} for name in ("ada", "bob", "eve")]
    (folder / "kept.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told("import", "kept.jsonl")
    for more in ((), ("--dry-run",)):
        result = invoke("forget", "x-1", *more)
        assert (result.exit_code, "Several namespaces have 'x-1'." in result.stderr) == (2, True)
    assert told("forget", "x-1", "-n", "ada")["forgotten"] == 1
    assert kept() == ["Of eve.", "Of bob."]
    assert told("forget", "x-1", "--all")["forgotten"] == 2


def test_items_without_a_subject_are_chosen_by_a_filter_and_by_no_empty_value(facts: list[str]) -> None:
    without = ("--filter", '{"field": "@subject", "exists": false}')
    assert told("forget", *without, "--dry-run")["forgotten"] == 1
    assert kept(*without) == ["Ada lives in Bern."]


def test_stats_say_what_they_do_not_list(folder: Path) -> None:
    lines = [{"text": "x", "namespace": [f"user:{n:03}"]} for n in range(103)]
    (folder / "kept.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told("import", "kept.jsonl")
    assert "These are the 100 largest; others have 3 memories." in invoke("stats").stderr
    assert invoke("stats", "-n", "user:001").stderr.startswith("1 memory, ")
    assert "largest" not in invoke("stats", "-n", "user:001").stderr


def test_without_an_embedder_there_is_nothing_to_embed(facts: list[str]) -> None:
    assert told("reembed") == {"made": 0, "removed": 0}
    assert "since no embedder is configured" in invoke("reembed").stderr


def test_reembed_without_an_embedder_says_what_it_took_away(folder: Path, facts: list[str]) -> None:
    with closing(sqlite3.connect(folder / ".opspawn/memory.db")) as file, file:
        file.execute("UPDATE items SET vector_of = 'other:model', vector = x'0000803f'")
    assert told("reembed") == {"made": 0, "removed": len(facts)}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("add", "x"), "Nobody is named"),
        (("add", " ", "-n", "a"), "must say something"),
        (("add", "x", "-n", "a", "--confidence", "2"), "confidence is 2.0"),
        (("add", "x", "-n", "a", "--metadata", "[1]"), "an object is meant"),
        (("add", "x", "-n", "a", "--metadata", "{"), "--metadata is no JSON"),
        (("add", "x", "-n", "a", "--ttl", "soon"), "--ttl 'soon' is no span"),
        (("list", "--older-than", "x"), "--older-than 'x' is no span"),
        (("list", "--filter", '{"field": "a", "like": 1}'), "filter says neither"),
        (("list", "--cursor", "x"), "no cursor"),
        (("search", "x", "--mode", "vector"), "no embedder"),
        (("search", "x", "--min-score", "7"), "min_score is 7.0"),
        (("show", "nope"), "There is no memory 'nope'"),
        (("forget",), "Nothing says what to forget"),
        (("forget", "a b"), "no id"),
        (("forget", "--subject", ""), "--subject is empty; was a variable of the shell not set?"),
        (("forget", "--session", "", "-n", "user:ada"), "--session is empty"),
        (("forget", "--subject", "", "--all"), "--subject is empty"),
        (("forget", "--older-than", ""), "--older-than '' is no span"),
        (("forget", "--filter", ""), "--filter is no JSON"),
        (("forget", "--filter", "{}"), 'has no "field"'),
        (("forget", "--filter", '{"and": []}'), "Nothing says what to forget"),
        (("forget", "-n", ""), "A part of a namespace is a text of 1 to 200"),
        (("forget", ""), "no id"),
        (("export", "-", "--subject", ""), "--subject is empty"),
        (("list", "--session", ""), "--session is empty"),
        (("import", "bad.jsonl"), "bad.jsonl, line 2: A memory has no member 'nope'"),
    ],
)
def test_what_does_not_do_is_refused_in_one_line(args: tuple[str, ...], words: str, facts: list[str]) -> None:
    Path("bad.jsonl").write_text('{"text": "x", "namespace": ["a"]}\n{"text": "y", "namespace": ["a"], "nope": 1}\n')
    result = invoke(*args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 or "Usage" in result.stderr
    assert len(kept()) == 3


def test_compacting_says_what_it_saved(facts: list[str]) -> None:
    told_sizes = told("compact")
    assert 0 < told_sizes["after"] <= told_sizes["before"]
    assert invoke("compact").stderr.startswith("Compacted: ")
    assert len(kept()) == 3


def test_reading_makes_no_memory_where_there_is_none(folder: Path) -> None:
    result = invoke("list")
    assert result.exit_code == 2
    assert "Nothing is remembered in" in result.stderr
    assert not (folder / ".opspawn").exists()


def test_a_memory_that_cannot_be_used_is_told_in_one_line(folder: Path) -> None:
    (folder / ".opspawn").mkdir()
    (folder / ".opspawn" / "memory.db").write_text("no database " * 50)
    result = invoke("list")
    assert result.exit_code == 1
    assert "cannot be used: file is not a database." in result.stderr


def test_an_embedder_that_is_not_there_is_told_with_what_is(folder: Path) -> None:
    (folder / "opspawn.toml").write_text('embedder = "nope:x"\n')
    result = invoke("add", "x", "-n", "a")
    assert result.exit_code == 2
    assert "There is no embedder 'nope'" in result.stderr
    (folder / "opspawn.toml").write_text('embedder = "openai"\n')
    assert "names no model" in invoke("add", "x", "-n", "a").stderr
    (folder / "opspawn.toml").write_text('memory = "nope"\n')
    assert "There is no memory 'nope'" in invoke("add", "x", "-n", "a").stderr

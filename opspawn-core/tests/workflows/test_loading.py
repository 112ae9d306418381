"""Reading definitions: strict, bounded, and every fault with its line, its key path and a remedy."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opspawn.errors import ConfigError, InvalidInput
from opspawn.ops.workflows import Workflow, load_workflow
from opspawn.ops.workflows.template import LATER_STEP, LATER_TOP

GOOD = """\
opspawn: "1"
name: triage
version: "2026.11"
inputs:
  topic: {type: string, maxLength: 20}
  depth: {type: integer, default: 3}
defaults:
  timeout: 10m
  retry: {attempts: 3, initial: 2s, max: 60s, when: [transient, timeout]}
steps:
  search:
    uses: tool/web.search
    with: {query: "${{ inputs.topic }}", limit: "${{ inputs.depth * 5 }}"}
  read:
    needs: [search]
    uses: agent/reader
    with: {input: "Read ${{ steps.search.output }}."}
output: {text: "${{ steps.read.output }}"}
"""


def faults_of(definition: Any, source: str = "triage.yaml") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_workflow(definition, source=source)
    assert "\n" not in str(caught.value)
    return list(caught.value.faults) or [str(caught.value)]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def one_step(**extra: Any) -> dict[str, Any]:
    return {"opspawn": "1", "name": "x", "steps": {"a": {"uses": "agent/a"}}, **extra}


def test_a_workflow_tells_its_name_its_steps_and_what_it_uses() -> None:
    workflow = load_workflow(GOOD, source="triage.yaml")

    assert (workflow.name, workflow.version) == ("triage", "2026.11")
    assert [step.id for step in workflow.steps] == ["search", "read"]
    assert (workflow.tools, workflow.agents) == (("web.search",), ("reader",))
    assert workflow.steps[0].timeout_s == 600


def test_a_file_is_read_and_named_in_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_workflow(path).name == "triage"

    path.write_text("name: x\n", encoding="utf-8")
    assert faults_of(path, source="flow.yaml")[0].startswith("flow.yaml:1: ")


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    assert "No such file" in faults_of(tmp_path / "none.yaml")[0]
    assert "cannot be read" in faults_of(tmp_path)[0]
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    assert "not UTF-8" in faults_of(tmp_path / "latin.yaml")[0]
    (tmp_path / "big.yaml").write_bytes(b"#" * 300_000)
    assert "too large" in faults_of(tmp_path / "big.yaml")[0]


def test_yaml_json_and_a_dict_of_the_same_content_are_the_same_workflow() -> None:
    from_yaml = load_workflow(GOOD, source="a.yaml")
    from_dict = load_workflow(from_yaml.definition, source="b")
    from_json = load_workflow(json.dumps(from_yaml.definition, indent=2), source="c.json")

    assert from_yaml.digest == from_dict.digest == from_json.digest
    assert from_yaml.definition == from_json.definition


def test_the_digest_ignores_the_order_of_keys_and_sees_every_change() -> None:
    first = load_workflow(one_step(description="d"))
    turned = load_workflow({"steps": {"a": {"uses": "agent/a"}}, "description": "d", "name": "x", "opspawn": "1"})
    other = load_workflow(one_step(description="e"))

    assert first.digest == turned.digest != other.digest
    assert len(first.digest) == 64


def test_a_workflow_cannot_be_changed() -> None:
    workflow = load_workflow(GOOD, source="a.yaml")

    with pytest.raises(AttributeError, match="immutable"):
        workflow.name = "other"
    workflow.definition["name"] = "other"

    assert workflow.definition["name"] == "triage"


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "True", "12:30:45", "2026-11-01", "0x1F", "0123", "1_000", ".inf"]
)
def test_yaml_words_of_old_stay_text(word: str) -> None:
    text = f'opspawn: "1"\nname: x\nsteps:\n  a: {{uses: tool/t, with: {{v: {word}}}}}\n'
    definition = load_workflow(text, source="x.yaml").definition
    assert definition["steps"]["a"]["with"]["v"] == word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ('"1"', "1"),
    ],
)
def test_yaml_scalars_are_those_of_json(word: str, value: object) -> None:
    text = f'opspawn: "1"\nname: x\nsteps:\n  a: {{uses: tool/t, with: {{v: {word}}}}}\n'
    got = load_workflow(text, source="x.yaml").definition["steps"]["a"]["with"]["v"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\na: 2", 2, "'a' is here twice, first on line 1"),
        ("a: &x 1", 1, "Anchors"),
        ("a: 1\nb: *x", 2, "aliases"),
        ("a: !!python/object:os.system x", 1, "tags are not allowed"),
        ("a: !custom {b: 1}", 1, "tags are not allowed"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("<<: {a: 1}", 1, "Merge keys"),
        ("? [a]\n: b", 1, "key must be text"),
        ("a:\n\t- b", 2, "there is a tab in this line"),
        ("a: [1", 1, "not YAML"),
        ("a: 'x", 1, "not YAML"),
        ("a: " + "9" * 5000, 1, "64 bits"),
        ("a: 1e999", 1, "too large"),
        ("- " * 2000 + "a", 1, "deeper than 32"),
        ("[" * 100_000, 1, "deeper than 32"),
        ("- a\n" * 21_000, 20_000, "20,000 values"),
        ("- a", None, 'begins with: opspawn: "1"'),
        ("", None, "is empty"),
        ("# nothing\n", None, "is empty"),
        ("a" * 300_000, None, "262,144"),
    ],
)
def test_yaml_that_is_not_strict_is_refused_with_its_line(text: str, line: int | None, said: str) -> None:
    (fault,) = faults_of(text, "f.yaml")
    assert said in fault
    assert fault.startswith("f.yaml")
    if line is not None and "not YAML" not in said:
        assert fault.startswith(f"f.yaml:{line}: ")


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(20))
    assert "Anchors" in faults_of(bomb)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,\n "a": 2}', "f.json:2: The key 'a' is here twice, first on line 1"),
        ('{"a": 1,\n "b" 2}', "f.json:2: This is not JSON: ':' is expected after the key 'b'"),
        ('{"a": 1,}', "a key in double quotes"),
        ('{"a": nul}', "a value is expected"),
        ('{"a": NaN}', "a value is expected"),
        ('{"a": [1 2]}', "',' or ']'"),
        ('{"a": "x', "Unterminated string"),
        ('{"a": 1} x', "Something follows"),
        ("[" * 50_000, "deeper than 32"),
        ('{"a":' * 40_000, "deeper than 32"),
        ('{"a": ' + "9" * 5000 + "}", "64 bits"),
        ('{"a": 1e999}', "too large"),
        ("[" + "1," * 25_000 + "1]", "20,000 values"),
    ],
)
def test_json_that_is_not_strict_is_refused(text: str, said: str) -> None:
    assert said in faults_of(text, "f.json")[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"a": float("nan")}, "not JSON"),
        ({"a": {1: 2}}, "keys must be text"),
        ({"a": object()}, "not JSON"),
        ({"a": ["x" * 300_000]}, "262,144"),
        ({"a": list(range(30_000))}, "20,000 values"),
    ],
)
def test_data_without_text_has_the_same_limits(data: dict[Any, Any], said: str) -> None:
    assert said in faults_of(data)[0]


def test_data_that_is_very_deep_is_refused_without_recursion() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert "deeper than 32" in faults_of({"a": deep})[0]


def test_later_parts_of_the_language_are_refused_by_name_with_the_line() -> None:
    text = changed("    uses: agent/reader\n", "    uses: agent/reader\n    foreach: x\n    if: 'true'\n").replace(
        "defaults:", "triggers: []\ndefaults:"
    )
    later = "is part of the workflow language but not of this version."
    assert faults_of(text) == [
        f"triage.yaml:7: triggers: 'triggers' {later}",
        f"triage.yaml:18: steps.read.foreach: 'foreach' {later}",
        f"triage.yaml:19: steps.read.if: 'if' {later}",
    ]


@pytest.mark.parametrize("key", sorted(LATER_TOP))
def test_every_later_key_of_a_workflow_is_known_by_name(key: str) -> None:
    assert "not of this version" in faults_of(one_step(**{key: 1}))[0]


@pytest.mark.parametrize("key", sorted(LATER_STEP))
def test_every_later_key_of_a_step_is_known_by_name(key: str) -> None:
    (fault,) = faults_of(one_step(steps={"a": {"uses": "agent/a", key: 1}}))
    assert f"steps.a.{key}: '{key}' is part of the workflow language" in fault


@pytest.mark.parametrize("uses", ["workflow/other", "python/module.function"])
def test_later_kinds_of_uses_are_refused_by_name(uses: str) -> None:
    assert "is part of the workflow language" in faults_of(one_step(steps={"a": {"uses": uses}}))[0]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "    needs: [search]\n",
            "    need: [search]\n",
            "15: steps.read.need: 'need' is not a key here. Did you mean 'needs'?",
        ),
        (
            "maxLength",
            "maxLenght",
            "5: inputs.topic.maxLenght: 'maxLenght' is not a key here. Did you mean 'maxLength'?",
        ),
        ("attempts", "atempts", "9: defaults.retry.atempts: 'atempts' is not a key here. Did you mean 'attempts'?"),
        ("version:", "on: x\nversion:", "3: on: 'on' is not a key; its name here is 'triggers', which is part of"),
        ('"2026.11"', "1.10", '3: version: The version is a number here. Put it in quotes: "1.1".'),
        (
            'opspawn: "1"',
            "opspawn: 1",
            '1: opspawn: The version of the language is a number here. Put it in quotes: "1".',
        ),
        ('opspawn: "1"', 'opspawn: "2"', "1: opspawn: This Opspawn reads the workflow language \"1\", not '2'."),
        (
            "name: triage",
            "name: Tri age",
            "2: name: 'Tri age' is not a name. Use 1 to 64 of the characters a-z 0-9 - _.",
        ),
        ("  search:\n", "  Search!:\n", "11: steps.Search!: 'Search!' cannot be the id of a step."),
        ("tool/web.search", "web.search", "12: steps.search.uses: 'web.search' names no tool and no agent."),
        ("    uses: tool/web.search\n", "", "11: steps.search.uses: is missing. Write 'uses: tool/NAME' or"),
        (
            "needs: [search]",
            "needs: [serch]",
            "15: steps.read.needs[0]: There is no step 'serch'. Did you mean 'search'?",
        ),
        ("needs: [search]", "needs: [search, search]", "15: steps.read.needs[1]: names 'search' twice."),
        ("needs: [search]", "needs: 3", "15: steps.read.needs: must be a list, not 3."),
        ("10m", "10", "8: defaults.timeout: 10 has no unit. Write '10s' for seconds or '10m' for minutes."),
        ("10m", "0s", "8: defaults.timeout: '0s' is out of range."),
        ("10m", "5 minutes", "8: defaults.timeout: '5 minutes' is not a duration."),
        ("initial: 2s", "initial: 2m", "9: defaults.retry: 'max' (60s) is shorter than 'initial' (2m). Raise 'max'."),
        ("[transient, timeout]", "[sometimes]", "9: defaults.retry.when[0]: must be 'transient', 'rate_limited', "),
        ("attempts: 3", "attempts: 0", "9: defaults.retry.attempts: input should be greater than or equal to 1"),
        ("type: integer", "type: int", "6: inputs.depth.type: must be 'string', 'integer', "),
        ("default: 3", "default: three", "6: inputs.depth.default: must be an integer, not a string."),
        ("maxLength: 20", 'pattern: "("', "5: inputs.topic.pattern: is not a regular expression that can be used:"),
        (
            "maxLength: 20",
            'default: "${{ run.id }}"',
            "5: inputs.topic.default: is used as it stands; expressions work in",
        ),
        ("  topic:", "  to-pic: {}\n  topic:", "5: inputs.to-pic: 'to-pic' cannot be the name of an input."),
    ],
)
def test_a_fault_names_line_key_cause_and_remedy(old: str, new: str, fault: str) -> None:
    assert any(found.startswith(f"triage.yaml:{fault}") for found in faults_of(changed(old, new)))


def test_what_is_missing_is_named() -> None:
    assert [fault.partition(": ")[2].partition(".")[0] for fault in faults_of({})] == [
        "opspawn: is missing",
        "name: is missing",
        "steps: is missing",
    ]
    assert "at least one step" in faults_of(one_step(steps={}))[0]


def test_all_faults_come_at_once_by_line_even_of_different_sorts() -> None:
    text = (
        changed("10m", "10").replace("inputs.depth", "inputs.deph").replace("agent/reader", "agent/reader\n    foo: 1")
    )

    lines = [fault.split(":")[1] for fault in faults_of(text)]

    assert lines == ["8", "13", "17"]


def test_a_reference_to_a_step_that_is_not_upstream_comes_with_its_mend() -> None:
    assert faults_of(changed("    needs: [search]\n", "")) == [
        "triage.yaml:16: steps.read.with.input: uses the output of 'search' without waiting for it. "
        "Add to step 'read': needs: [search]"
    ]


def test_a_reference_may_go_to_a_step_further_upstream() -> None:
    steps = {
        "a": {"uses": "tool/t"},
        "b": {"uses": "tool/t", "needs": "a"},
        "c": {"uses": "tool/t", "needs": ["b"], "with": {"x": "${{ steps.a.output }}"}},
    }
    assert load_workflow(one_step(steps=steps)).steps[1].needs == ("a",)


def test_a_cycle_is_named() -> None:
    steps = {id: {"uses": "tool/t", "needs": [need]} for id, need in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]}
    (fault,) = faults_of(one_step(steps=steps))
    assert "The steps wait for each other: a needs b needs c needs a." in fault
    assert "wait for each other: a needs a." in faults_of(one_step(steps={"a": {"uses": "tool/t", "needs": ["a"]}}))[0]


def test_a_chain_of_500_steps_loads_and_501_are_too_many() -> None:
    def chain(length: int) -> dict[str, Any]:
        return {f"s{n}": {"uses": "tool/t", "needs": [f"s{n - 1}"] if n else []} for n in range(length)}

    assert len(load_workflow(one_step(steps=chain(500))).steps) == 500
    assert "has more than 500 steps" in faults_of(one_step(steps=chain(501)))[0]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("inputs.deph", "'deph' is not an input of this workflow. Did you mean 'depth'?"),
        ("steps.serch.output", "There is no step 'serch'. Did you mean 'search'?"),
        ("steps.search.result", "A step has 'output', not 'result'. Write steps.search.output."),
        ("steps", "'steps' alone is not a value. Write steps.ID.output."),
        ("steps.map(s, s)", "'steps' alone is not a value."),
        ("steps.read.output", "The step 'read' cannot use its own output."),
        ("run.name", "'name' is not part of 'run'."),
        ("item.x", "'item' is part of the workflow language but not of this version."),
        ("secrets.key", "'secrets' is part of the workflow language but not of this version."),
        ("join(inputs.topic)", "The function 'join' is part of the workflow language but not of this version."),
        ("topic", "There is no 'topic' in expressions."),
        ("sise(inputs.topic)", "There is no function 'sise' in expressions. Did you mean 'size'?"),
        ("inputs.depth +", "a value is expected, not the end"),
        ("inputs.depth = 3", "Write '=='."),
        ("", "The expression is empty."),
    ],
)
def test_expressions_are_checked_when_the_workflow_is_loaded(expression: str, said: str) -> None:
    (fault,) = faults_of(changed("${{ steps.search.output }}", "${{ " + expression + " }}"))
    assert fault.startswith("triage.yaml:17: steps.read.with.input: ")
    assert said in fault


def test_a_step_whose_id_has_a_minus_is_quoted_and_the_fault_says_so() -> None:
    steps = {"my-step": {"uses": "tool/t"}}
    good = one_step(steps=steps, output='${{ steps["my-step"].output }}')
    assert load_workflow(good).has_output

    (fault, *_) = faults_of(one_step(steps=steps, output="${{ steps.my-step.output }}"))
    assert 'write steps["my-step"]' in fault or "There is no 'step' in expressions" in fault


def test_an_expression_as_a_key_is_refused() -> None:
    steps = {"a": {"uses": "tool/t", "with": {"${{ run.id }}": 1}}}
    assert "an expression cannot be a key" in faults_of(one_step(steps=steps))[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172_800), ("1m250ms", 60.25)],
)
def test_durations_are_read_by_their_units(text: str, seconds: float) -> None:
    workflow = load_workflow(one_step(steps={"a": {"uses": "tool/t", "timeout": text}}))
    assert workflow.steps[0].timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "1h 30m", "30m1h", "1m1m", "-1s", "1e9s", "400d", "999999999999999999999999999d", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert "steps.a.timeout" in faults_of(one_step(steps={"a": {"uses": "tool/t", "timeout": text}}))[0]


def test_a_step_refines_the_default_retry_key_by_key() -> None:
    steps = {
        "a": {"uses": "tool/t", "retry": {"attempts": 5}},
        "b": {"uses": "tool/t", "retry": {"backoff": "constant"}},
        "c": {"uses": "tool/t", "timeout": "1s"},
    }
    defaults = {"timeout": "9s", "retry": {"attempts": 2, "initial": "3s", "when": ["denied"]}}

    a, b, c = load_workflow(one_step(steps=steps, defaults=defaults)).steps

    assert a.retry is not None
    assert b.retry is not None
    assert (a.retry.attempts, a.retry.initial_s, a.retry.when, a.retry.factor) == (5, 3.0, ("denied",), 2.0)
    assert (b.retry.attempts, b.retry.factor, b.retry.jitter) == (2, 1.0, False)
    assert (a.timeout_s, c.timeout_s) == (9.0, 1.0)


def test_without_any_retry_there_is_no_policy() -> None:
    assert load_workflow(one_step()).steps[0].retry is None


SEQUENCE = {
    "id": "sample_workflow_id",
    "name": "Sample",
    "tasks": [
        {
            "taskId": "step_1",
            "name": "First",
            "agentCapability": "cap",
            "parameters": {"m": "x"},
            "nextTaskId": "step_2",
        },
        {"taskId": "step_2", "agentCapability": "other", "parameters": {"n": 1}, "nextTaskId": None},
    ],
}


def test_the_original_sequence_format_loads() -> None:
    workflow = load_workflow(SEQUENCE)

    assert workflow.definition == {
        "opspawn": "1",
        "name": "sample_workflow_id",
        "steps": {
            "step_1": {"uses": "agent/cap", "with": {"m": "x"}},
            "step_2": {"uses": "agent/other", "with": {"n": 1}, "needs": ["step_1"]},
        },
    }
    assert load_workflow(SEQUENCE, tools={"other"}).tools == ("other",)


def test_a_sequence_that_dangles_turns_in_circles_or_repeats_itself_is_refused() -> None:
    def tasks(*pairs: tuple[str, str | None]) -> dict[str, Any]:
        return {"id": "w", "tasks": [{"taskId": a, "agentCapability": "c", "nextTaskId": b} for a, b in pairs]}

    assert "names 'zz', and there is no such task" in faults_of(tasks(("a", "zz")))[0]
    assert "wait for each other" in faults_of(tasks(("a", "b"), ("b", "a")))[0]
    assert "which another task has already" in faults_of(tasks(("a", None), ("a", None)))[0]
    assert "must be a list" in faults_of({"id": "w", "tasks": []})[0]
    assert "'agentCapability' is missing" not in faults_of({"id": "w", "tasks": [{"taskId": "a"}]})[0]
    assert "agentCapability: is missing" in faults_of({"id": "w", "tasks": [{"taskId": "a"}]})[0]


def test_faults_in_a_sequence_keep_their_lines() -> None:
    text = "id: w\ntasks:\n  - taskId: a\n    agentCapability: c\n    parameters:\n      x: ${{ nope }}\n"
    assert faults_of(text, "old.yaml")[0].startswith("old.yaml:6: ")


def test_an_enormous_number_of_faults_is_cut_short() -> None:
    assert len(faults_of(one_step(steps={f"s{n}": {} for n in range(400)}))) == 50


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python as it is without the extra `workflows`."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in {"yaml", "cel"}:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("bare")
def test_without_the_extra_yaml_and_expressions_name_it_and_plain_json_works() -> None:
    hint = r'pip install "opspawn-core\[workflows\]"'
    with pytest.raises(ConfigError, match=hint):
        load_workflow(GOOD, source="triage.yaml")
    with pytest.raises(ConfigError, match=hint):
        load_workflow(one_step(output="${{ 1 + 1 }}"))
    assert isinstance(load_workflow(one_step(output="${{ steps.a.output.x }}")), Workflow)


def test_importing_the_package_loads_neither_yaml_nor_the_engine() -> None:
    code = "import sys, opspawn, opspawn.ops.workflows; print([m for m in ('yaml', 'cel') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""A tool that declares no effect is never called again by itself: killed in the middle of it, its task asks a human."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ._process import ModelServer, Serve, json_lines, opspawn, wait_for

#: `pay` declares no effect. It hangs until the file `go` is there, so that a kill can land in the middle of it.
APP = '''
import asyncio, json
from pathlib import Path
from opspawn import Agent, App, tool

HERE = Path(__file__).parent


@tool
async def pay(to: str, amount: int) -> str:
    """Pay somebody."""
    with (HERE / "payments.jsonl").open("a") as file:
        file.write(json.dumps({"to": to, "amount": amount}) + "\\n")
    while not (HERE / "go").exists():
        await asyncio.sleep(0.02)
    return f"paid {to}"


app = App(agents=[Agent("clerk", tools=[pay], instructions="Pay who is named.")], workflows=["payday.yaml"])
'''
WORKFLOW = """
opspawn: "1"
name: payday
inputs:
  to: {type: string}
steps:
  pay:
    uses: tool/pay
    with: {to: "${{ inputs.to }}", amount: 7}
    retry: {attempts: 3}
output: "${{ steps.pay.output }}"
"""
#: The model pays whom the user names, at once where there are several, then repeats what the tool said.
SCRIPT = """
from opspawn.testing.openai_server import CallTools, Say


def script(request):
    last = request["messages"][-1]
    if last["role"] == "user":
        return CallTools([("pay", {"to": to, "amount": 7}) for to in last["content"].split("+")])
    said = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    return Say("The tool said: " + " and ".join(said))
"""
AGENTS = ("happened", "again", "fail", "rest", "cancelled", "shown", "twice")
TWO = "left+right"
WORKFLOWS = ("flow-happened", "flow-again", "flow-fail")


@dataclass
class Desk:
    """A server that was killed while `pay` ran in each of its tasks, and started again.

    By payee: the tasks' ids, and, before any decision, what each looked like and how often `pay` was called.
    """

    folder: Path
    server: Serve
    model: ModelServer
    tasks: dict[str, str]
    doubts: dict[str, dict[str, Any]]
    before: dict[str, int]

    def resolve(self, name: str, *decision: str) -> dict[str, Any]:
        """Decide on the command line, and wait for the end."""
        told = opspawn("tasks", "resolve", self.tasks[name], *decision, folder=self.folder)
        assert (told.returncode, told.stdout) == (0, ""), told.stderr
        task = self.server.settled(self.tasks[name])
        left = ", ".join(doubt["key"] for doubt in task["doubts"])
        said = f"Decided. Still in doubt: {left}.\n" if left else f"Task {self.tasks[name]} goes on.\n"
        assert told.stderr == said
        return task

    def payments(self, name: str) -> int:
        """How often `pay` was called for somebody, as the tool itself has written it down."""
        return sum(line["to"] == name for line in json_lines(self.folder / "payments.jsonl"))

    def asked(self, name: str) -> int:
        """How many requests about somebody came to the model server."""
        return sum(request["messages"][1]["content"] == name for request in self.model.requests)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, stores: str) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "app.py").write_text(APP)
    (folder / "payday.yaml").write_text(WORKFLOW)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "opspawn.toml").write_text('app = "app:app"\n')
    with ModelServer(folder / "script.py") as model:
        with Serve(folder, model.env) as server:
            tasks = {name: server.post("/v1/agents/clerk/run", {"input": name})["id"] for name in (*AGENTS, TWO)}
            for name in WORKFLOWS:
                body = {"workflowDefinitionId": "payday", "initialPayload": {"to": name}}
                tasks[name] = server.post("/v1/opscore/agent/clerk/workflow", body)["taskId"]
            wait_for(lambda: len(json_lines(folder / "payments.jsonl")) == len(tasks) + 1, "every payment to begin")
            server.kill()
        (folder / "go").touch()
        with Serve(folder, model.env) as server:
            doubts = {name: server.settled(id) for name, id in tasks.items()}
            desk = Desk(folder, server, model, tasks, doubts, {})
            desk.before = {name: desk.payments(name) for name in tasks}
            yield desk


@pytest.mark.parametrize("name", [*AGENTS, *WORKFLOWS])
def test_after_the_kill_the_task_is_in_doubt_and_the_tool_was_not_called_again(desk: Desk, name: str) -> None:
    task = desk.doubts[name]

    assert (task["state"], task["failures"], desk.before[name]) == ("in_doubt", 0, 1)
    assert task["error"]["type"] == "in_doubt"
    assert (task["error"]["name"], task["error"]["arguments"]) == ("pay", {"to": name, "amount": 7})


def test_show_explains_what_happened_and_what_to_do(desk: Desk) -> None:
    id = desk.tasks["shown"]

    shown = opspawn("tasks", "show", id, folder=desk.folder)

    assert shown.returncode == 0
    assert f"Task {id} is in doubt." in shown.stdout
    assert 'pay({"to": "shown", "amount": 7})' in shown.stdout
    for decision in ("--happened", "--not-happened", "--again", "--fail"):
        assert f"opspawn tasks resolve {id} {decision}" in shown.stdout
    assert '@tool(effect="idempotent")' in shown.stdout


def test_happened_gives_the_model_the_result_and_calls_nothing(desk: Desk) -> None:
    ended = desk.resolve("happened", "--happened", '"paid by hand"')

    assert (ended["state"], ended["result"]) == ("succeeded", "The tool said: paid by hand")
    assert (desk.payments("happened"), desk.asked("happened")) == (1, 2)


def test_again_calls_the_tool_once_more(desk: Desk) -> None:
    ended = desk.resolve("again", "--again")

    assert (ended["state"], ended["result"]) == ("succeeded", "The tool said: paid again")
    assert (desk.payments("again"), desk.asked("again")) == (2, 2)


def test_fail_tells_the_model_that_the_call_failed(desk: Desk) -> None:
    ended = desk.resolve("fail", "--fail")

    assert ended["state"] == "succeeded", ended["error"]
    assert ended["result"] == "The tool said: Error: An operator decided that 'pay' failed."
    assert (desk.payments("fail"), desk.asked("fail")) == (1, 2)


def test_of_two_calls_in_doubt_each_is_listed_and_decided_by_its_step(desk: Desk) -> None:
    id = desk.tasks[TWO]
    listed = {doubt["key"]: doubt for doubt in desk.doubts[TWO]["doubts"]}
    asked = {key: doubt["arguments"]["to"] for key, doubt in listed.items()}

    unclear = opspawn("tasks", "resolve", id, "--again", folder=desk.folder)
    first = desk.resolve(TWO, "--step", "act/0", "--happened", '"paid by hand"', "--by", "carol")
    ended = desk.resolve(TWO, "--not-happened")

    assert sorted(asked) == ["act/0", "act/1"]
    assert all(doubt["since"] and doubt["idempotencyKey"] == f"{id}/{key}" for key, doubt in listed.items())
    assert (unclear.returncode, unclear.stderr.count("\n")) == (2, 1)
    assert "Say which one: 'act/0', 'act/1'." in unclear.stderr
    assert (first["state"], [doubt["key"] for doubt in first["doubts"]]) == ("in_doubt", ["act/1"])
    assert (ended["state"], desk.payments(asked["act/0"]), desk.payments(asked["act/1"])) == ("succeeded", 1, 2)
    assert f"paid {asked['act/1']}" in ended["result"]
    assert "paid by hand" in ended["result"]
    decided = [event["data"] for event in desk.server.journal(id) if event["type"] == "task.resolved"]
    assert [(one["outcome"], one["by"] == "carol") for one in decided] == [("happened", True), ("not-happened", False)]


def test_a_decision_over_rest_counts_the_same(desk: Desk) -> None:
    id = desk.tasks["rest"]

    answer = desk.server.request(
        "POST", f"/v1/opscore/tasks/{id}/resolve", {"outcome": "happened", "result": {"receipt": 12}}
    )

    assert answer.status_code == 202, answer.text
    ended = desk.server.settled(id)
    assert (ended["state"], ended["result"]) == ("succeeded", 'The tool said: {"receipt":12}')
    assert (desk.payments("rest"), desk.asked("rest")) == (1, 2)


def test_happened_gives_a_workflow_the_result_as_json(desk: Desk) -> None:
    ended = desk.resolve("flow-happened", "--happened", '{"receipt": 12}')

    assert (ended["state"], ended["result"]) == ("succeeded", {"receipt": 12})
    assert desk.payments("flow-happened") == 1


def test_again_lets_the_step_of_a_workflow_run_once_more(desk: Desk) -> None:
    ended = desk.resolve("flow-again", "--again")

    assert (ended["state"], ended["result"]) == ("succeeded", "paid flow-again")
    assert desk.payments("flow-again") == 2


def test_fail_fails_the_step_of_a_workflow_without_another_try(desk: Desk) -> None:
    ended = desk.resolve("flow-fail", "--fail")

    assert ended["state"] == "failed"
    assert "'pay'" in ended["error"]["message"]
    assert desk.payments("flow-fail") == 1


def test_a_task_in_doubt_can_be_cancelled_without_a_decision(desk: Desk) -> None:
    id = desk.tasks["cancelled"]

    told = opspawn("tasks", "cancel", id, folder=desk.folder)

    assert told.returncode == 0, told.stderr
    wait_for(lambda: desk.server.task(id)["state"] == "cancelled", "the cancel")
    assert desk.payments("cancelled") == 1


@pytest.mark.parametrize("decision", [("--happened", '"paid"'), ("--again",), ("--fail",)])
def test_a_second_decision_is_refused_in_one_line(desk: Desk, decision: tuple[str, ...]) -> None:
    id = desk.tasks["twice"]
    if desk.server.task(id)["state"] == "in_doubt":
        desk.resolve("twice", "--happened", '"paid by hand"')

    told = opspawn("tasks", "resolve", id, *decision, folder=desk.folder)
    answer = desk.server.request("POST", f"/v1/opscore/tasks/{id}/resolve", {"outcome": "again"})

    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert f"{id} has succeeded; there is nothing to resolve" in told.stderr
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid-transition")
    assert desk.payments("twice") == 1


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ((), "exactly one of --happened, --not-happened, --again and --fail"),
        (("--again", "--fail"), "exactly one of --happened, --not-happened, --again and --fail"),
        (("--happened", "paid"), "--happened is not JSON"),
    ],
)
def test_half_a_decision_is_refused_and_changes_nothing(desk: Desk, decision: tuple[str, ...], words: str) -> None:
    told = opspawn("tasks", "resolve", desk.tasks["shown"], *decision, folder=desk.folder)

    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert words in told.stderr
    assert desk.payments("shown") == 1

"""Wrong requests get a problem document with a stable code, the cause and the remedy, and no task comes of them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from ._process import PATIENCE_S, Serve, wait_for

APP = '''
from opspawn import Agent, App, tool
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel


class Echo:
    async def run(self, context):
        return PlannerResult(context.input)


class Boom:
    async def run(self, context):
        raise ValueError("this agent always fails")


@tool(effect="read")
async def shout(text: str) -> str:
    """Shout."""
    return text.upper()


@tool(effect="read")
async def mumble(text: str) -> str:
    """Answer with half of a surrogate pair, as careless programs do."""
    return "\\ud83d" + text


def agent(name, planner):
    return Agent(name, model=ScriptedModel([]), planner=planner)


app = App(agents=[agent("echo", Echo()), agent("boom", Boom())], tools=[shout, mumble], workflows=["greet.yaml"])
'''
GREET = """
opspawn: "1"
name: greet
inputs:
  text: {type: string}
  times: {type: integer, default: 1}
steps:
  shout:
    uses: tool/shout
    with: {text: "${{ inputs.text }}"}
output: "${{ steps.shout.output }}"
"""
RUN = "/v1/agents/echo/run"
WORKFLOW = "/v1/opscore/agent/echo/workflow"
TASKS = "/v1/opscore/tasks"
EVENTS = "/v1/opscore/events"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, stores: str) -> Iterator[httpx2.Client]:
    """A client of one server for the module, on each store: a request that is refused cannot disturb the next."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "app.py").write_text(APP)
    (folder / "greet.yaml").write_text(GREET)
    with (
        Serve(folder, None, "app:app") as serve,
        httpx2.Client(base_url=serve.url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        yield client
        assert "Traceback" not in serve.output


@pytest.fixture
def tasks_before(api: httpx2.Client) -> Iterator[None]:
    """A refused request makes no task."""
    before = ids(api)
    yield
    assert ids(api) == before


def ids(api: httpx2.Client) -> list[str]:
    return [task["id"] for task in api.get(f"{TASKS}?limit=200").json()["tasks"]]


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a response, whose form is checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:opspawn:problem:{code}"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert "\n" not in body["detail"]
    assert body["instance"] == response.request.url.path
    return body


def told(body: dict[str, Any]) -> str:
    """All that a problem says to a person."""
    return " ".join([body["detail"], body.get("remedy", ""), *(fault["detail"] for fault in body.get("errors", ()))])


# -- what is not there -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize(
    ("method", "path", "body", "code", "says"),
    [
        ("GET", "/v1/nope", None, "no-such-path", ["/v1/nope", "/openapi.json"]),
        ("GET", "/healthz/", None, "no-such-path", ["/healthz/"]),
        ("GET", "/v1/agents/ecko", None, "not-found", ["no agent 'ecko'", "Known: boom, echo"]),
        ("POST", "/v1/agents/ecko/run", {"input": "hi"}, "not-found", ["no agent 'ecko'", "Known: boom, echo"]),
        ("POST", WORKFLOW, {"workflowDefinitionId": "gret"}, "not-found", ["no workflow 'gret'", "Known: greet"]),
        (
            "POST",
            "/v1/opscore/agent/ecko/workflow",
            {"workflowDefinitionId": "greet", "initialPayload": {"text": "hi"}},
            "not-found",
            ["no agent 'ecko'", "Known: boom, echo"],
        ),
        ("GET", f"{TASKS}/t-nope", None, "not-found", ["no task 't-nope'"]),
        ("GET", f"{TASKS}/t-nope/journal", None, "not-found", ["no task 't-nope'"]),
        ("POST", f"{TASKS}/t-nope/cancel", None, "not-found", ["no task 't-nope'"]),
        ("POST", f"{TASKS}/t-nope/retry", None, "not-found", ["no task 't-nope'"]),
        ("POST", f"{TASKS}/t-nope/resolve", {"outcome": "again"}, "not-found", ["no task 't-nope'"]),
    ],
)
def test_what_is_not_there_is_a_404_with_what_is(
    api: httpx2.Client, method: str, path: str, body: Any, code: str, says: list[str]
) -> None:
    answer = problem(api.request(method, path, json=body), 404, code)

    assert all(part in told(answer) for part in says), answer


def test_a_wrong_method_is_a_405_with_the_right_one(api: httpx2.Client) -> None:
    response = api.request("DELETE", RUN)

    answer = problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"
    assert answer["detail"] == f"DELETE is not allowed on {RUN}."
    assert answer["remedy"] == "Use POST."


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize(
    ("path", "body", "pointer", "says"),
    [
        (RUN, {"inptu": "hi"}, "body/inptu", "Did you mean 'input'?"),
        (RUN, {}, "body/input", "is missing"),
        (RUN, ["hi"], "body", "must be a JSON object"),
        (RUN, {"input": "hi", "wait_s": 1}, "body/wait_s", "Did you mean 'waitS'?"),
        (RUN, {"input": "hi", "waitS": "1"}, "body/waitS", "must be a valid number"),
        (RUN, {"input": "hi", "waitS": 3600}, "body/waitS", "less than or equal to 60"),
        (RUN, {"input": "hi", "labels": {"a": 1}}, "body/labels/a", "must be a valid string"),
        (WORKFLOW, {}, "body", "exactly one of workflowDefinitionId and workflowDefinition"),
        (
            f"{TASKS}/t-nope/resolve",
            {"outcome": "maybe"},
            "body/outcome",
            "'happened', 'not-happened', 'again' or 'fail'",
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, (dict, list)) else "",
)
def test_a_body_that_does_not_fit_is_a_422_with_the_place(
    api: httpx2.Client, path: str, body: Any, pointer: str, says: str
) -> None:
    answer = problem(api.request("POST", path, json=body), 422, "invalid-request")

    fault = answer["errors"][0]
    assert fault["pointer"] == pointer
    assert says in fault["detail"]
    assert f"{pointer}: " in answer["detail"]


@pytest.mark.usefixtures("tasks_before")
def test_a_post_without_a_body_says_so(api: httpx2.Client) -> None:
    answer = problem(api.request("POST", RUN), 422, "invalid-request")

    assert answer["detail"] == "body: is missing."


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize(
    ("query", "pointer", "says"),
    [
        (f"{TASKS}?state=sleeping", "query/state", "'queued'"),
        (f"{TASKS}?limit=0", "query/limit", "greater than or equal to 1"),
        (f"{TASKS}?agnet=echo", "query/agnet", "Did you mean 'agent'?"),
        (f"{TASKS}/t-nope/journal?after=-1", "query/after", "greater than or equal to 0"),
        (f"{TASKS}/t-nope/journal?after={2**63}", "query/after", f"less than or equal to {2**63 - 1}"),
        (f"{EVENTS}?level=loud", "query/level", "'warning'"),
        (f"{EVENTS}?since=yesterday", "query/since", "datetime"),
        (f"{EVENTS}?since=2026-11-20T12:00:00", "query/since", "timezone"),
        (f"{EVENTS}?after={2**63}", "query/after", f"less than or equal to {2**63 - 1}"),
    ],
)
def test_a_wrong_query_is_a_422_with_its_parameter(api: httpx2.Client, query: str, pointer: str, says: str) -> None:
    answer = problem(api.request("GET", query, headers={"accept": "application/json"}), 422, "invalid-request")

    assert answer["errors"][0]["pointer"] == pointer
    assert says in answer["errors"][0]["detail"]


def test_a_cursor_that_nobody_gave_is_a_422(api: httpx2.Client) -> None:
    answer = problem(api.request("GET", f"{TASKS}?cursor=bogus"), 422, "invalid-input")

    assert "'bogus' is no cursor" in answer["detail"]


@pytest.mark.parametrize("id", ["x", "-1", "²", "9" * 30])
def test_a_last_event_id_that_is_none_is_a_400(api: httpx2.Client, id: str) -> None:
    answer = problem(api.request("GET", EVENTS, headers={"last-event-id": id.encode()}), 400, "last-event-id")

    assert "leave the header out" in answer["remedy"]


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize("input", ["", None])
def test_an_agent_without_input_is_a_422(api: httpx2.Client, input: Any) -> None:
    answer = problem(api.request("POST", RUN, json={"input": input}), 422, "invalid-input")

    assert answer["detail"] == "The agent 'echo' needs an input."


# -- workflows ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tasks_before")
def test_the_inputs_of_a_workflow_are_checked_all_at_once(api: httpx2.Client) -> None:
    body = {"workflowDefinitionId": "greet", "initialPayload": {"txt": "hi", "times": "often"}}

    answer = problem(api.request("POST", WORKFLOW, json=body), 422, "invalid-input")

    assert [fault["detail"] for fault in answer["errors"]] == [
        "inputs.txt: is not an input of this workflow. Did you mean 'text'?",
        "inputs.text: is missing. Give it as a string.",
        "inputs.times: must be an integer, not a string.",
    ]


@pytest.mark.usefixtures("tasks_before")
def test_every_fault_of_a_definition_is_told(api: httpx2.Client) -> None:
    steps = {"a": {"uses": "shout"}, "b": {"uses": "tool/shout", "needs": ["zz"]}}
    definition = {"opspawn": "1", "name": "two words", "steps": steps, "colour": "red"}

    answer = problem(api.request("POST", WORKFLOW, json={"workflowDefinition": definition}), 422, "invalid-input")

    faults = [fault["detail"] for fault in answer["errors"]]
    for part in ("'two words' is not a name", "steps.a.uses: 'shout'", "'colour' is not a key", "'zz'"):
        assert any(part in fault for fault in faults), faults


@pytest.mark.usefixtures("tasks_before")
def test_a_definition_that_uses_what_the_app_lacks_is_refused_with_what_it_has(api: httpx2.Client) -> None:
    steps = {"a": {"uses": "tool/shut"}, "b": {"uses": "agent/ecko"}}
    definition = {"opspawn": "1", "name": "lacking", "steps": steps}

    answer = problem(api.request("POST", WORKFLOW, json={"workflowDefinition": definition}), 422, "invalid-input")

    assert [fault["detail"].partition(": ")[2] for fault in answer["errors"]] == [
        "there is no tool 'shut'.",
        "there is no agent 'ecko'.",
    ]
    assert "shout" in answer["remedy"]


# -- bodies that are no JSON, too large, too deep ----------------------------------------------------------------------


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"input": "hi"', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"input": NaN}', "NaN is no JSON number"),
        (b'{"input": 1e999}', "1e999 is too large"),
        (b'{"input": ' + b"9" * 5000 + b"}", "a number of 5000 digits is too large."),
        (b'{"input": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_body_that_is_no_json_is_a_400(api: httpx2.Client, content: bytes, says: str) -> None:
    answer = problem(api.request("POST", RUN, content=content, headers=JSON), 400, "not-json")

    assert says in answer["detail"]
    assert answer["remedy"]


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_a_415(api: httpx2.Client, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}

    answer = problem(api.request("POST", RUN, content=b'{"input": "hi"}', headers=headers), 415, "media-type")

    assert (kind or "untyped") in answer["detail"]
    assert "Content-Type: application/json" in answer["remedy"]


@pytest.mark.usefixtures("tasks_before")
def test_a_body_that_says_that_it_is_too_large_is_refused_unread(api: httpx2.Client) -> None:
    url = api.base_url
    with closing(http.client.HTTPConnection(url.host, url.port, timeout=PATIENCE_S)) as connection:
        connection.putrequest("POST", RUN)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(1024 * 1024 + 1))
        connection.endheaders()

        response = connection.getresponse()
        answer = json.load(response)

    assert (response.status, answer["code"]) == (413, "too-large")
    assert "larger than 1048576 bytes" in answer["detail"]


@pytest.mark.usefixtures("tasks_before")
def test_a_body_in_pieces_is_refused_as_soon_as_it_is_too_large(api: httpx2.Client) -> None:
    pieces = (b" " * 65536 for _ in range(64))

    answer = problem(api.request("POST", RUN, content=pieces, headers=JSON), 413, "too-large")

    assert "max_body_bytes" in answer["remedy"]


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize("content", [b"[" * 65 + b"]" * 65, b'{"a":' * 65 + b"1" + b"}" * 65, b"[" * 200_000])
def test_a_body_that_is_nested_too_deep_is_refused_before_it_is_parsed(api: httpx2.Client, content: bytes) -> None:
    answer = problem(api.request("POST", RUN, content=content, headers=JSON), 400, "too-deep")

    assert "64 levels" in answer["detail"]
    assert "max_depth" in answer["remedy"]


def test_brackets_within_texts_do_not_count_as_depth(api: httpx2.Client) -> None:
    body = {"input": '["' * 500, "waitS": 30}

    assert api.post(RUN, json=body).json()["result"] == body["input"]


# -- who may ask -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "192.0.2.1", ""])
def test_a_request_under_a_foreign_name_is_refused(api: httpx2.Client, host: str) -> None:
    """A web page elsewhere may let its name point to this machine: the name of the host gives it away."""
    answer = problem(api.request("POST", RUN, json={"input": "hi"}, headers={"host": host}), 421, "foreign-host")

    assert repr(host) in answer["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "[::1]"])
def test_every_name_of_this_machine_is_answered(api: httpx2.Client, host: str) -> None:
    assert api.request("GET", "/healthz", headers={"host": host}).status_code == 200


# -- the same key ------------------------------------------------------------------------------------------------------


def test_the_same_key_with_the_same_request_is_the_same_task(api: httpx2.Client) -> None:
    asked = {"json": {"input": "once", "labels": {"a": "b"}}, "headers": {"idempotency-key": "same"}}

    first, second = api.request("POST", RUN, **asked), api.request("POST", RUN, **asked)

    assert first.json()["id"] == second.json()["id"]
    assert second.headers["location"] == f"{TASKS}/{first.json()['id']}"


@pytest.mark.parametrize(
    "other",
    [
        {"input": "two"},
        {"input": "one", "priority": 1},
        {"input": "one", "labels": {"a": "b"}},
        {"input": "one", "delayS": 1},
    ],
    ids=lambda body: list(body)[-1],
)
def test_the_same_key_with_another_request_is_a_422(api: httpx2.Client, other: dict[str, Any]) -> None:
    headers = {"idempotency-key": f"other-{list(other)[-1]}"}
    api.request("POST", RUN, json={"input": "one"}, headers=headers)
    before = ids(api)

    answer = problem(api.request("POST", RUN, json=other, headers=headers), 422, "idempotency-mismatch")

    assert answer["remedy"] == "Send the same request again, or choose a new key."
    assert ids(api) == before


def test_the_same_key_for_another_agent_or_a_workflow_is_a_422(api: httpx2.Client) -> None:
    headers = {"idempotency-key": "crossing"}
    api.request("POST", RUN, json={"input": "one"}, headers=headers)
    body = {"workflowDefinitionId": "greet", "initialPayload": {"text": "hi"}}

    problem(
        api.request("POST", "/v1/agents/boom/run", json={"input": "one"}, headers=headers), 422, "idempotency-mismatch"
    )
    problem(api.request("POST", WORKFLOW, json=body, headers=headers), 422, "idempotency-mismatch")


@pytest.mark.usefixtures("tasks_before")
@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_that_is_empty_or_too_long_is_a_422(api: httpx2.Client, key: str) -> None:
    response = api.request("POST", RUN, json={"input": "one"}, headers={"idempotency-key": key})

    assert "Idempotency-Key" in problem(response, 422, "invalid-input")["detail"]


# -- decisions in the wrong state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "body"),
    [("cancel", None), ("retry", None), ("resolve", {"outcome": "again"})],
    ids=lambda part: str(part),
)
def test_a_decision_that_the_state_does_not_allow_is_a_409(api: httpx2.Client, decision: str, body: Any) -> None:
    task = api.post(RUN, json={"input": "done", "waitS": 30}).json()
    assert task["state"] == "succeeded"

    answer = problem(api.request("POST", f"{TASKS}/{task['id']}/{decision}", json=body), 409, "invalid-transition")

    assert task["id"] in answer["detail"]
    assert "succeeded" in answer["detail"]
    assert api.get(f"{TASKS}/{task['id']}").json() == task


def test_a_failed_task_can_be_retried_and_not_resolved(api: httpx2.Client) -> None:
    task = api.post("/v1/agents/boom/run", json={"input": "hi", "waitS": 30}).json()
    assert task["state"] == "failed"
    assert "this agent always fails" in task["error"]["message"]

    problem(api.request("POST", f"{TASKS}/{task['id']}/resolve", json={"outcome": "fail"}), 409, "invalid-transition")
    again = api.post(f"{TASKS}/{task['id']}/retry").json()

    assert again["retryOf"] == task["id"]


# -- what goes out -----------------------------------------------------------------------------------------------------


def test_half_of_a_surrogate_pair_in_a_result_breaks_no_list_and_no_stream(api: httpx2.Client) -> None:
    """Models and tools produce them; UTF-8 cannot, but JSON can: as the escape that it was."""
    steps = {"mumble": {"uses": "tool/mumble", "with": {"text": "!"}}}
    definition = {"opspawn": "1", "name": "mumbling", "steps": steps, "output": "${{ steps.mumble.output }}"}
    id = api.post(WORKFLOW, json={"workflowDefinition": definition}).json()["taskId"]

    task = wait_for(lambda: ended(api, id), "the end of the run")

    assert (task["state"], task["result"]) == ("succeeded", "\ud83d!")
    assert id in ids(api)
    events = api.get(f"{TASKS}/{id}/journal").json()["events"]
    assert any(event["data"].get("result") == "\ud83d!" for event in events)
    with api.stream("GET", EVENTS, params={"task": id, "after": 0}) as stream:
        assert any("\\ud83d!" in line for line in stream.iter_lines())


def ended(api: httpx2.Client, id: str) -> dict[str, Any] | None:
    task: dict[str, Any] = api.get(f"{TASKS}/{id}").json()
    return task if task["ended"] else None

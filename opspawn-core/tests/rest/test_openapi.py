"""The API describes itself, completely."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

METHODS = {"get", "post", "put", "patch", "delete"}
OPERATIONS = {
    "GET /healthz": "health",
    "GET /readyz": "ready",
    "GET /v1/agents": "listAgents",
    "GET /v1/agents/{id}": "getAgent",
    "POST /v1/agents/{id}/run": "runAgent",
    "POST /v1/opscore/agent/{agentId}/workflow": "triggerWorkflow",
    "GET /v1/memory/items": "listMemories",
    "POST /v1/memory/items": "addMemories",
    "GET /v1/memory/items/{id}": "getMemory",
    "PATCH /v1/memory/items/{id}": "changeMemory",
    "POST /v1/memory/search": "searchMemories",
    "POST /v1/memory/forget": "forgetMemories",
    "GET /v1/memory/stats": "memoryStats",
    "POST /v1/memory/compact": "compactMemory",
    "POST /v1/memory/reembed": "reembedMemory",
    "GET /v1/opscore/events": "streamEvents",
    "GET /v1/opscore/tasks": "listTasks",
    "POST /v1/opscore/tasks": "dispatchTask",
    "POST /v1/opscore/tasks/retry": "retryTasks",
    "POST /v1/opscore/tasks/{id}/fallback": "fallbackTask",
    "GET /v1/opscore/tasks/{id}": "getTask",
    "GET /v1/opscore/tasks/{id}/journal": "getJournal",
    "GET /v1/opscore/tasks/{id}/stream": "streamRun",
    "POST /v1/opscore/tasks/{id}/cancel": "cancelTask",
    "POST /v1/opscore/tasks/{id}/resolve": "resolveTask",
    "POST /v1/opscore/tasks/{id}/retry": "retryTask",
    "POST /v1/opscore/tasks/{id}/signals": "signalTask",
    "POST /v1/opscore/tasks/{id}/pause": "pauseTask",
    "POST /v1/opscore/tasks/{id}/resume": "resumeTask",
    "GET /v1/opscore/approvals": "listApprovals",
    "GET /v1/opscore/approvals/{id}": "getApproval",
    "POST /v1/opscore/approvals/{id}/approve": "approve",
    "POST /v1/opscore/approvals/{id}/deny": "deny",
    "GET /v1/opscore/questions": "listQuestions",
    "GET /v1/opscore/questions/{id}": "getQuestion",
    "POST /v1/opscore/questions/{id}/answer": "answerQuestion",
    "GET /v1/opscore/workflows": "listWorkflows",
    "POST /v1/opscore/workflows": "createWorkflow",
    "GET /v1/opscore/workflows/{workflowId}": "getWorkflow",
    "GET /v1/opscore/agents": "listRegisteredAgents",
    "POST /v1/opscore/agents": "registerAgent",
    "GET /v1/opscore/agent/{agentId}": "getRegisteredAgent",
    "DELETE /v1/opscore/agent/{agentId}": "deregisterAgent",
    "GET /v1/opscore/agent/{agentId}/history": "getAgentHistory",
    "GET /v1/opscore/agent/{agentId}/state": "getAgentState",
    "POST /v1/opscore/agent/{agentId}/state": "setAgentState",
    "POST /v1/opscore/agent/{agentId}/resume": "resumeAgent",
    "POST /v1/opscore/agent/{agentId}/tasks": "dispatchToAgent",
    "GET /v1/opscore/schedules": "listSchedules",
    "POST /v1/opscore/schedules": "addSchedule",
    "GET /v1/opscore/schedules/{name}": "getSchedule",
    "DELETE /v1/opscore/schedules/{name}": "removeSchedule",
    "POST /v1/opscore/schedules/{name}/pause": "pauseSchedule",
    "POST /v1/opscore/schedules/{name}/resume": "resumeSchedule",
    "POST /v1/opscore/schedules/{name}/run": "runSchedule",
    "POST /v1/opscore/agent/{agentId}/sessions": "startSession",
    "PATCH /v1/opscore/agent/{agentId}/sessions/{sessionId}": "updateSession",
    "GET /v1/opscore/sessions": "listSessions",
    "GET /v1/opscore/sessions/{sessionId}": "getSession",
    "POST /v1/opscore/tasks/{id}/result": "reportResult",
    "GET /v1/opscore/tasks/{id}/trace": "getTrace",
    "GET /v1/opscore/tasks/{id}/why": "whyTask",
    "GET /v1/opscore/workers": "listWorkers",
    "GET /v1/opscore/doctor": "examine",
    "POST /v1/opscore/store/prune": "prune",
    "POST /v1/opscore/store/backup": "backup",
    "POST /v1/opscore/internal/agent/notify": "notifyAgent",
}


@pytest.fixture
async def description(client: httpx2.AsyncClient) -> dict[str, Any]:
    """What `/openapi.json` says, asked for twice: it must not change."""
    first, second = await client.get("/openapi.json"), await client.get("/openapi.json")
    assert first.json() == second.json()
    described: dict[str, Any] = first.json()
    return described


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


async def test_every_operation_is_there_under_its_name(description: dict[str, Any]) -> None:
    assert {name: found["operationId"] for name, found in operations(description).items()} == OPERATIONS


async def test_every_operation_answers_problems_as_such(description: dict[str, Any]) -> None:
    for operation in operations(description).values():
        content = operation["responses"]["4XX"]["content"]
        assert list(content) == ["application/problem+json"]
        assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemView"}
    problem = description["components"]["schemas"]["ProblemView"]
    assert set(problem["required"]) == {"type", "title", "status", "code", "detail", "instance"}


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    for reference in references(description):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_members_are_camel_case_and_closed_in_requests(description: dict[str, Any]) -> None:
    schema = description["components"]["schemas"]["RunRequest"]

    times = {"delayS", "waitS", "timeoutS", "idleTimeoutS", "deadlineS"}
    assert set(schema["properties"]) == {
        "input",
        "sessionId",
        "priority",
        "strict",
        "labels",
        "retry",
        "fallback",
        "budget",
        "overrides",
        *times,
    }
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["input"]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


async def test_no_page_loads_scripts_from_elsewhere(client: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        assert (await client.get(path)).status_code == 404

"""`rest.md` and `openapi.json`: the REST API, from the document that the server itself gives out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from _reference.text import code, kind_of, table
from opspawn.contracts.transport import Host
from opspawn.rest.api import build_api
from opspawn.rest.plugin import RestConfig
from opspawn.rest.problems import STATUS

_OPENING = """\
# REST

`opspawn serve` opens it (`transports = ["rest"]`, the default), on http://127.0.0.1:8000 unless
`[plugins.rest]` or `--host` and `--port` say otherwise. The version is in the URL. JSON on the wire is
camelCase; unknown members of a request are refused and values never converted. The whole document is
[openapi.json](openapi.json), which a running server gives at `/openapi.json`.

* **No authentication yet.** The server listens on loopback only, and answers only requests whose `Host` is a
  loopback name.
* `Idempotency-Key` on a request that starts something: the same key with the same request gives the task of
  the first time, with another request it is an error (422, `idempotency-mismatch`).
* Bodies: at most 1 MiB and 64 levels deep (settings of `[plugins.rest]`), `application/json`.
* Lists give `cursor`; send it as `?cursor=` for the next page.
* `GET /v1/opscore/events` streams server-sent events: `id` is the position, `event` the [type](events.md),
  `data` the event as JSON. A client that reconnects with `Last-Event-ID` misses none. Between them come
  `event: delta`, pieces of answers as they stream, which cannot be resumed. With `Accept: application/json`
  it answers with one page of past events instead.
* `GET /v1/opscore/tasks/{id}/stream` streams one run as [typed events](run-events.md), from its begin, with those of
  the tasks within it, and ends with it. `Last-Event-ID` goes on where a client was cut off; after the end the answer
  is 204.

## Problems

An error is a problem document (RFC 9457, `application/problem+json`) with `type`, `title`, `status`, `code`,
`detail`, `instance`, where there is one a `remedy`, and for wrong input `errors` with one entry a fault.
Branch on `code`, which is stable."""

#: Codes that come from the transport itself; those of errors.py stand in `STATUS`.
_OWN = {
    "incomplete": 400,
    "last-event-id": 400,
    "not-json": 400,
    "too-deep": 400,
    "no-such-path": 404,
    "method-not-allowed": 405,
    "too-large": 413,
    "media-type": 415,
    "foreign-host": 421,
    "invalid-request": 422,
    "internal": 500,
}


def pages() -> dict[str, str]:
    """The page and the document."""
    document = build_api(cast(Host, None), RestConfig()).openapi()
    codes = sorted({**STATUS, **_OWN}.items(), key=lambda item: (item[1], item[0]))
    parts = [
        _OPENING,
        table(["Status", "code"], [[str(status), f"`{name}`"] for name, status in codes]),
        "## Operations",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(path, method.upper(), operation)
    parts.append("## Schemas")
    for name, schema in document["components"]["schemas"].items():
        parts += _schema(name, schema)
    return {"rest.md": "\n\n".join(parts), "openapi.json": json.dumps(document, indent=2, ensure_ascii=False)}


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield operation.get("description", operation["summary"]) + f" Operation `{operation['operationId']}`."
    rows = [
        [
            f"`{_spelt(one)}`",
            one["in"],
            kind_of(one["schema"]),
            one.get("description", one["schema"].get("description", "")),
        ]
        for one in operation.get("parameters", ())
    ]
    if rows:
        yield table(["Parameter", "In", "Type", "Meaning"], rows)
    if body := operation.get("requestBody"):
        yield f"Body: {kind_of(body['content']['application/json']['schema'])}."
    answers = []
    for status, answer in operation["responses"].items():
        schemas = [kind_of(media["schema"]) for media in answer.get("content", {}).values() if media.get("schema")]
        media = [name for name in answer.get("content", {}) if name != "application/json"]
        words = [*dict.fromkeys(schemas), *(f"`{name}`" for name in media)]
        answers.append([status, ", ".join(words) or answer["description"]])
    yield table(["Answer", "Content"], answers)


def _spelt(parameter: Mapping[str, Any]) -> str:
    name = str(parameter["name"])
    return name.title() if parameter["in"] == "header" else name


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    if text := schema.get("description"):
        yield " ".join(text.split())
    required = schema.get("required", ())
    rows = []
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else code(field["default"]) if field.get("default") is not None else ""
        rows.append([f"`{key}`", kind_of(field), default, field.get("description", "")])
    if rows:
        yield table(["Member", "Type", "Default", "Meaning"], rows)

"""Typed answers: what an agent's `output` asks of its model, and the check of what the model sends.

A type is described to a model in one of three modes. `tool`: the model calls a tool whose arguments are the answer,
one tool for each member of a union. `native`: the vendor holds the answer's text to the schema. `prompted`: the schema
stands in the instructions, for models that can do neither.
"""

from __future__ import annotations

import copy
import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from opspawn.agentkit.faults import faults_of
from opspawn.agentkit.values import InputSpec, check_spec, check_value, dotted
from opspawn.contracts.model import Message, ModelCapabilities, ModelResponse, ToolCall, ToolSpec
from opspawn.errors import ConfigError

OutputMode = Literal["auto", "tool", "native", "prompted"]
MODES: tuple[str, ...] = get_args(OutputMode)
#: The tool by which a model answers; of a union's members, this and the member's name.
ANSWER = "final_answer"
#: Under which an answer stands that is no JSON object by itself.
_WRAP = "answer"
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(?P<inside>.*?)\n?```\s*\Z", re.DOTALL)


class Shape:
    """One type, or one JSON Schema, that an answer may have."""

    def __init__(self, wanted: Any) -> None:
        """Read it. Raises: ConfigError: it describes nothing; the message is the second half of a sentence."""
        self.name = _name_of(wanted)
        self._spec: InputSpec | None = None
        try:
            if isinstance(wanted, Mapping):
                self._spec = InputSpec.model_validate(dict(wanted))
                for path, fault in check_spec(self._spec):
                    raise ConfigError(f"a schema that cannot be used: {dotted(path)} {fault}")
                self._adapter: TypeAdapter[Any] = TypeAdapter(Any)
                schema: dict[str, Any] = dict(wanted)
            else:
                self._adapter = TypeAdapter(wanted)
                schema = self._adapter.json_schema()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigError(f"a schema that cannot be used: {dotted(first['loc'])}: {first['msg']}") from error
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError, NameError) as error:
            words = " ".join(str(error).split("\n")[0].split())[:200]
            raise ConfigError(f"{self.name}, which is no type that a model can answer with ({words})") from error
        self._wrapped = schema.get("type") != "object"
        self._no_object = self._wrapped and "type" in schema
        self.schema = _wrap(schema) if self._wrapped else schema
        self.description = str(schema.get("description") or "")

    def read(self, data: Any) -> tuple[Any, list[str]]:
        """The value, and what is wrong with it, one line each."""
        if self._wrapped and isinstance(data, Mapping) and set(data) == {_WRAP}:
            data = data[_WRAP]
        elif self._no_object and isinstance(data, Mapping):
            return None, [f"the answer belongs into {_WRAP!r}, and nothing else"]
        if self._spec is not None:
            return data, [f"{dotted((_WRAP, *path))} {words}" for path, words in check_value(self._spec, data)]
        try:
            return self._adapter.validate_json(json.dumps(data)), []
        except ValidationError as error:
            return None, faults_of(error, data if isinstance(data, Mapping) else {}, ())

    def checked(self, value: Any) -> tuple[Any, list[str]]:
        """The same for a value of Python that is meant to be one already."""
        if self._spec is not None:
            return self.read(value)
        try:
            return self._adapter.validate_python(value), []
        except ValidationError as error:
            return None, faults_of(error, {}, ())

    def plain(self, value: Any) -> Any:
        """The value as JSON. Raises: ValueError: JSON cannot say it."""
        return self._adapter.dump_python(value, mode="json")


@dataclass(frozen=True)
class Fit:
    """An answer that fits: its value, the same as JSON, and the text that stands in the conversation."""

    value: Any
    plain: Any
    text: str
    shape: Shape | None = None


@dataclass(frozen=True)
class Misfit:
    """An answer that does not, in words for the model."""

    words: str


class Output:
    """What an agent answers with. `mode` is "auto" until `bound`; `retries` is how often an answer may be mended."""

    def __init__(self, wanted: Any, mode: str = "auto", retries: int = 2) -> None:
        """Read the type. Raises: ConfigError, as the second half of a sentence."""
        self.retries = retries
        self.mode = mode
        members = _members(wanted)
        self.allows_text = str in members
        self.shapes = tuple(Shape(one) for one in members if one is not str)
        whole = wanted if not isinstance(wanted, (list, tuple)) else Union[tuple(wanted)]  # noqa: UP007
        self._whole = Shape(whole) if len(self.shapes) > 1 else self.shapes[0] if self.shapes else None
        self._tools = {_tool_name(shape, len(self.shapes)): shape for shape in self.shapes}
        if len(self._tools) != len(self.shapes):
            raise ConfigError("two types of one name in its output")

    @property
    def is_text(self) -> bool:
        """Whether any text will do."""
        return not self.shapes

    def bound(self, can: ModelCapabilities) -> Output:
        """The same for one model: in the mode that suits it, if none was chosen."""
        if self.mode != "auto" or self.is_text:
            return self
        if can.output_schema and not self.allows_text:
            return self.by("native")
        return self.by("prompted" if can.tools is False else "tool")

    def by(self, mode: str) -> Output:
        """The same in one mode."""
        made = copy.copy(self)
        made.mode = mode
        return made

    # -- what the model is shown ---------------------------------------------------------------------------------------

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The tools by which it answers, in the mode `tool`."""
        if self.mode != "tool":
            return ()
        return tuple(ToolSpec(name, _told(shape), shape.schema) for name, shape in self._tools.items())

    @property
    def schema(self) -> dict[str, Any] | None:
        """What the vendor holds its text to, in the mode `native`."""
        return self._whole.schema if self.mode == "native" and self._whole is not None else None

    def told(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The conversation, in the mode `prompted` with the schema at the end of its system message."""
        if self.mode != "prompted" or self._whole is None:
            return tuple(messages)
        schema = json.dumps(self._whole.schema, ensure_ascii=False, separators=(",", ":"))
        words = f"Give your final answer as JSON that fits this JSON Schema, and nothing else:\n{schema}"
        if self.allows_text:
            words += "\nOr answer in plain text, if no such answer is possible."
        if messages and messages[0].role == "system" and not messages[0].parts:
            head = replace(messages[0], content=f"{messages[0].content}\n\n{words}")
            return (head, *messages[1:])
        return (Message("system", words), *messages)

    # -- what the model sends ------------------------------------------------------------------------------------------

    def split(self, response: ModelResponse) -> tuple[list[ToolCall], list[ToolCall]]:
        """The calls that answer, and those of other tools."""
        answers = [call for call in response.tool_calls if self.mode == "tool" and call.name in self._tools]
        return answers, [call for call in response.tool_calls if call not in answers]

    def read(self, response: ModelResponse) -> Fit | Misfit:
        """A final answer: by tool or as text."""
        answers, _ = self.split(response)
        found: Fit | Misfit = Misfit("Your answer was empty.")
        for call in answers:
            if call.malformed is not None:
                found = Misfit(f"The arguments were not a JSON object: {call.malformed[:200]!r}.")
            else:
                found = _fit(self._tools[call.name], call.arguments)
            if isinstance(found, Fit):
                return found
        return found if answers else self.read_text(response.text)

    def read_text(self, text: str) -> Fit | Misfit:
        """An answer that came as text: JSON that fits, or, where any text will do, the text."""
        if self._whole is None:
            return Fit(text, text, text) if text.strip() else Misfit("Your answer was empty.")
        if not text.strip():
            return Misfit("Your answer was empty.")
        try:
            data = json.loads(_unfenced(text))
        except ValueError as error:
            if self.allows_text:
                return Fit(text, text, text)
            return Misfit(f"Your answer is not the JSON that is wanted ({error}).")
        found = _fit(self._whole, data)
        if isinstance(found, Misfit) and self.allows_text:
            return Fit(text, text, text)
        return found

    def of(self, value: Any) -> Fit | Misfit:
        """An answer that a planner, or a validator, made as a value of Python."""
        if isinstance(value, str):
            found = self.read_text(value)
            if isinstance(found, Fit) or self._whole is None:
                return found
        if self._whole is None:
            return Misfit(f"The answer is no text, but {type(value).__name__}.")
        made, faults = self._whole.checked(value)
        return _made(self._whole, made) if not faults else _misfit(faults)

    def again(self, plain: Any, before: Fit) -> Fit | Misfit:
        """An answer from its JSON, of the same type as `before`, which it comes from."""
        if before.shape is None:
            return Fit(plain, plain, str(plain))
        return _fit(before.shape, plain)

    def correction(self, response: ModelResponse, words: str) -> list[Message]:
        """What goes on in the conversation after an answer that does not fit."""
        said = [response.message()] if response.text or response.tool_calls or response.parts else []
        answers, _ = self.split(response)
        if answers:
            again = f"{words} Call the tool again with the whole answer."
            return [*said, *(Message("tool", again, (), call.id, True) for call in answers)]
        how = {"tool": f"Answer by calling {' or '.join(self._tools)}."}.get(
            self.mode, "Send the whole answer as JSON."
        )
        return [*said, Message("user", f"{words} {how if self.shapes else 'Answer again.'}")]


def _fit(shape: Shape, data: Any) -> Fit | Misfit:
    value, faults = shape.read(data)
    return _made(shape, value) if not faults else _misfit(faults)


def _made(shape: Shape, value: Any) -> Fit:
    plain = shape.plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return Fit(value, plain, text, shape)


def _misfit(faults: Sequence[str]) -> Misfit:
    return Misfit(f"The answer does not fit: {'; '.join(faults)}.")


def _told(shape: Shape) -> str:
    words = "Give your final answer. Call it once, when you are done."
    return f"{shape.description} {words}".strip()


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object around one of anything else, since models answer with objects."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer = {"type": "object", "properties": {_WRAP: inner}, "required": [_WRAP], "additionalProperties": False}
    return {**outer, "$defs": schema["$defs"]} if "$defs" in schema else outer


def _members(wanted: Any) -> list[Any]:
    """The members of a union, or of a list of types; anything else is its own only member."""
    if isinstance(wanted, (list, tuple)):
        if not wanted:
            raise ConfigError("no type")
        return [member for one in wanted for member in _members(one)]
    origin = get_origin(wanted)
    if origin is Annotated and get_origin(get_args(wanted)[0]) in (Union, types.UnionType):
        return [wanted]  # discriminated, say: pydantic knows better
    if origin in (Union, types.UnionType):
        members = [member for one in get_args(wanted) for member in _members(one)]
        return [wanted] if type(None) in members else members
    return [wanted]


def _name_of(wanted: Any) -> str:
    if isinstance(wanted, Mapping):
        return str(wanted.get("title") or "answer")
    if get_origin(wanted) is None and isinstance(wanted, type):
        return wanted.__name__
    return str(wanted).replace("typing.", "")


def _tool_name(shape: Shape, count: int) -> str:
    return ANSWER if count == 1 else f"{ANSWER}_{re.sub(r'[^A-Za-z0-9_-]+', '_', shape.name).strip('_')}"[:64]


def _unfenced(text: str) -> str:
    fenced = _FENCE.match(text)
    return fenced["inside"] if fenced else text


__all__ = ["MODES", "Fit", "Misfit", "Output", "OutputMode", "Shape"]

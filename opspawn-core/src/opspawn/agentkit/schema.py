"""From a function's signature to a JSON Schema for the model and a strict validator for what the model sends."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, Union

from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json, to_jsonable_python
from typing_extensions import TypedDict

from opspawn.agentkit.docstrings import parse
from opspawn.agentkit.faults import faults_of
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, InvalidInput

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a tool sees it.

    Attributes:
        description: the prose of the docstring.
        parameters: JSON Schema of type object; unknown arguments are not allowed.
        context: the name of the parameter that takes the `ToolContext`, if there is one; not part of `parameters`.
    """

    tool: str
    description: str
    parameters: dict[str, Any]
    context: str | None
    _validator: SchemaValidator = field(repr=False)
    _result: Any = field(default=None, repr=False)

    def output(self) -> dict[str, Any] | None:
        """JSON Schema of the result; None where the annotation says nothing, or nothing that JSON Schema can say."""
        if self._result in (None, Any, type(None), inspect.Parameter.empty):
            return None
        try:
            schema: dict[str, Any] = _without_titles(TypeAdapter(self._result).json_schema(mode="serialization"))
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError, NameError):
            return None
        return schema or None

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments, converted to the annotated types; those left out stay out, so that defaults apply.

        Types are strict in the way of JSON: a date is a string, but "5" is not a number. Raises: InvalidInput.
        """
        try:
            # By way of JSON text: only there strict mode takes a string for a date or an enum, and a list for a tuple.
            return self._validator.validate_json(to_json(arguments), strict=True)  # type: ignore[no-any-return]
        except ValidationError as error:
            faults = faults_of(error, arguments, list(self.parameters["properties"]))
        except (PydanticSerializationError, ValueError) as error:
            faults = [f"arguments: not JSON: {error}"]
        raise InvalidInput(f"The arguments of the tool {self.tool!r} do not fit.", faults=faults)


def signature_of(fn: Callable[..., Any], tool: str, local_names: Mapping[str, Any]) -> Signature:
    """Read a function. `local_names` are those visible where it was defined, for annotations that name local classes.

    Raises: ConfigError, naming the tool and the parameter that cannot be described to a model.
    """
    function = _function(fn)
    hints = _hints(function, tool, local_names)
    description, texts = parse(function.__doc__)
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    context: str | None = None
    for name, parameter in _parameters(fn, tool):
        hint = hints.get(name, inspect.Parameter.empty)
        _check(tool, parameter, hint)
        if _is_context(hint):
            if context is not None:
                raise _wrong(tool, name, f"is a second ToolContext, besides {context!r}")
            context = name
            continue
        described = hint if _described(hint) or name not in texts else Annotated[hint, Field(description=texts[name])]
        if parameter.default is inspect.Parameter.empty:
            fields[name] = described
        else:
            defaults[name] = parameter.default
            fields[name] = NotRequired[described]
    adapter = _adapter(tool, fields)
    parameters = _schema(adapter, tool, fields, defaults)
    validator = typing.cast(SchemaValidator, adapter.validator)
    return Signature(tool, description, parameters, context, validator, _result(function, local_names))


def _function(fn: Any) -> Any:
    """The function that holds annotations and docstring: below a `functools.partial`, or in a callable object."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) else type(fn).__call__


def _hints(function: Any, tool: str, local_names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of the parameters, resolved one by one so that a fault has a name. The result's is not needed."""
    function = inspect.unwrap(function)
    known = getattr(function, "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        if name == "return":
            continue
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= typing.get_type_hints(alone, known, {**local_names}, include_extras=True)
        except NameError as error:
            remedy = "Import or define the type at the top of the module, and not only under TYPE_CHECKING."
            raise _wrong(tool, name, f"has an unknown type ({error})", remedy) from error
        except Exception as error:  # An annotation is the user's own expression, and may raise anything.
            raise _wrong(tool, name, f"has an annotation that is not a type ({error})") from error
    return hints


def _result(function: Any, local_names: Mapping[str, Any]) -> Any:
    """The annotation of the result; None where there is none, or none that can be resolved: nothing depends on it."""
    function = inspect.unwrap(function)
    annotation = getattr(function, "__annotations__", {}).get("return")
    alone = types.SimpleNamespace(__annotations__={"return": annotation})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}), {**local_names}, include_extras=True)[
            "return"
        ]
    except Exception:  # an annotation is the user's own expression, and may raise anything
        return None


def _parameters(fn: Callable[..., Any], tool: str) -> list[tuple[str, inspect.Parameter]]:
    try:
        return list(inspect.signature(fn).parameters.items())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The tool {tool!r} has no readable signature: {error}.", remedy="Wrap it in a function."
        ) from error


def _check(tool: str, parameter: inspect.Parameter, hint: Any) -> None:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise _wrong(tool, str(parameter).split(":")[0], "takes any number of arguments", "Name each argument.")
    if parameter.kind not in _NAMED:
        raise _wrong(tool, parameter.name, "is positional-only", "Take the '/' out of the signature.")
    if hint is inspect.Parameter.empty:
        raise _wrong(tool, parameter.name, "has no type annotation", "Write one, e.g. 'name: str'.")
    if isinstance(parameter.default, FieldInfo):
        raise _wrong(
            tool,
            parameter.name,
            "has Field(...) as its default",
            "Write 'name: Annotated[int, Field(ge=1)] = 5' instead.",
        )


def _is_context(hint: Any) -> bool:
    """`ToolContext`, `ToolContext[Deps]`, either of them `| None`, or any of these `Annotated`."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _is_context(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return any(map(_is_context, typing.get_args(hint)))
    return hint is ToolContext or origin is ToolContext


def _described(hint: Any) -> bool:
    extras = getattr(hint, "__metadata__", ())
    return any(isinstance(extra, FieldInfo) and extra.description for extra in extras)


def _adapter(tool: str, fields: dict[str, Any]) -> TypeAdapter[Any]:
    try:
        return _typed_dict(fields)
    except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as error:
        raise _blame(tool, fields, error) from error


def _typed_dict(fields: dict[str, Any]) -> TypeAdapter[Any]:
    shape: Any = typing.cast(Any, TypedDict)("Arguments", fields)
    shape.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(shape)


def _schema(adapter: TypeAdapter[Any], tool: str, fields: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = _without_titles(adapter.json_schema())
    except PydanticUserError as error:
        raise _blame(tool, fields, error) from error
    properties = schema.setdefault("properties", {})
    for name, value in defaults.items():
        try:
            properties[name] = {**properties[name], "default": to_jsonable_python(value)}
        except (PydanticSerializationError, ValueError):
            continue  # The function still applies it; only the model cannot be told in JSON what it is.
    return schema


def _blame(tool: str, fields: dict[str, Any], error: Exception) -> ConfigError:
    """Find the parameter that pydantic cannot describe; its own message names only the type."""
    for name, hint in fields.items():
        try:
            _typed_dict({name: hint}).json_schema()
        except (PydanticSchemaGenerationError, PydanticUserError, TypeError) as fault:
            if getattr(fault, "code", None) == "class-not-fully-defined":
                return _wrong(
                    tool,
                    name,
                    "has a type that refers to another one not found",
                    "Define both at the top of the module.",
                )
            if getattr(fault, "code", None) == "typed-dict-version":
                return _wrong(
                    tool, name, "has a TypedDict of typing", "Import it from typing_extensions; or use Python 3.12."
                )
            words = str(fault).splitlines()[0].split(". Set `arb")[0].rstrip(".")
            return _wrong(
                tool, name, f"has a type that JSON cannot express ({words})", "Take JSON types, and convert inside."
            )
    return ConfigError(
        f"The arguments of the tool {tool!r} cannot be described in JSON Schema: {str(error).splitlines()[0]}"
    )


def _without_titles(schema: Any) -> Any:
    """pydantic titles every field with its own name: words that cost tokens and say nothing."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _part(key, value) for key, value in schema.items() if key != "title"}


def _part(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties", "$defs"):
        return {name: _without_titles(part) for name, part in value.items()}
    return value if key in ("default", "const", "enum", "examples", "example") else _without_titles(value)


def _wrong(tool: str, parameter: str, what: str, remedy: str | None = None) -> ConfigError:
    return ConfigError(f"The tool {tool!r} cannot be made: its parameter {parameter!r} {what}.", remedy=remedy)

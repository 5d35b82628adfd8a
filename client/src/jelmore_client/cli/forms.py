"""Forms of MCP servers (elicitations), as people type them: pure. The server refuses what does not fit the schema."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

from jelmore_client.cli.choices import UnclearError

FORM: Final = "Elicitation"
"""The tool of a request for a form."""

LEFT_OUT: Final = "-"
"""What is typed for a field that may be left out."""

_WORDS: Final = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}


def form_parts(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of a request's form in the form of questions, with their `name` and schema (`field`)."""
    schema = given.get("requested_schema")
    fields = schema.get("properties") if isinstance(schema, dict) else None
    needed = schema.get("required") if isinstance(schema, dict) else None
    required = needed if isinstance(needed, list) else []
    if not isinstance(fields, dict) or given.get("mode") == "url":
        return []
    return [_part(name, field, name in required) for name, field in fields.items() if isinstance(field, dict)]


def _part(name: str, field: dict[str, Any], required: bool) -> dict[str, Any]:
    about = " ".join(str(each) for each in (field.get("title") or name, field.get("description")) if each)
    kind = "yes or no" if field.get("type") == "boolean" else str(field.get("format") or field.get("type") or "")
    options = [{"label": title} for _, title in choices_of(field)]
    hint = f" ({kind})" if kind and kind != "string" and not options else ""
    more = "" if required else f"; {LEFT_OUT} leaves it out"
    return {"question": f"{about}{hint}{more}", "name": name, "field": field, "required": required, "options": options}


def choices_of(field: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return the values to choose from with their titles; none where any value may be."""
    each = field.get("items") if field.get("type") == "array" else field
    if not isinstance(each, dict):
        return []
    titled = each.get("oneOf") or each.get("anyOf")
    if isinstance(titled, list):
        return [
            (one["const"], str(one.get("title", one["const"])))
            for one in titled
            if isinstance(one, dict) and "const" in one
        ]
    values, names = each.get("enum"), each.get("enumNames")
    if not isinstance(values, list):
        return []
    titles = names if isinstance(names, list) and len(names) == len(values) else values
    return [(value, str(title)) for value, title in zip(values, titles, strict=True)]


def value_of(part: dict[str, Any], typed: str) -> Any:
    """Return what was typed as the value of a field; None when it is left out. Raises UnclearError."""
    field = part["field"]
    if typed == LEFT_OUT and not part["required"]:
        return None
    match field.get("type"):
        case "boolean":
            if typed.lower() not in _WORDS:
                raise UnclearError(f"{part['name']}: type yes or no")
            return _WORDS[typed.lower()]
        case "integer" | "number" as kind:
            try:
                number = int(typed) if kind == "integer" else float(typed)
                if isfinite(number):  # JSON has no other numbers
                    return number
            except (ValueError, OverflowError):
                pass
            raise UnclearError(f"{part['name']}: type a{' whole' if kind == 'integer' else ''} number")
        case "array":
            return [_chosen(field, word.strip()) for word in typed.split(",") if word.strip()]
        case _:
            return _chosen(field, typed)


def _chosen(field: dict[str, Any], typed: str) -> Any:
    """Return the value that a number, a value or its title stands for; the text itself where any value may be."""
    choices = choices_of(field)
    if typed.isdecimal() and 1 <= int(typed) <= len(choices) and typed not in {str(value) for value, _ in choices}:
        return choices[int(typed) - 1][0]
    return next((value for value, title in choices if typed in {str(value), title}), typed)


def content_of(given: dict[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """Return the content of a form from texts `NAME=VALUE`. Raises UnclearError."""
    parts = {part["name"]: part for part in form_parts(given)}
    content = {}
    for each in typed:
        name, separator, text = each.partition("=")
        if not separator or name not in parts:
            known = ", ".join(parts) or "no fields"
            raise UnclearError(f"--set {each}: give NAME=VALUE with a field of the form ({known})")
        content[name] = value_of(parts[name], text)
    return {name: value for name, value in content.items() if value is not None}

"""A hook of MkDocs: puts tables of all configuration keys, made from the JSON schema, in the place of a mark."""

import json
import re
from typing import Any

from snn_action.config import make_schema

PAGE, MARK = "reference/configuration.md", "<!-- all keys -->"
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """What MkDocs calls for each page."""
    return markdown.replace(MARK, write_tables(make_schema())) if page.file.src_uri == PAGE else markdown


def write_tables(schema: dict[str, Any]) -> str:
    """A table for each section, and one for each item that a ``type`` chooses, neurons last."""
    definitions = schema["$defs"]
    plain = {key: value for key, value in schema["properties"].items() if key != "$schema"}
    sections = {key: value for key, value in plain.items() if find_names(value)}
    own = {"properties": {key: value for key, value in plain.items() if key not in sections}}
    own["required"] = schema.get("required", [])
    parts = [write_table("Top level", "", write_rows(own, definitions))]
    waiting, seen = list(sections.items()), set()
    while waiting:
        key, value = waiting.pop(0)
        for name in find_names(value):
            if name in seen:
                continue
            seen.add(name)
            definition = definitions[name]
            chosen = (find_name(definition) or name.partition("_")[2]) if len(find_names(value)) > 1 else None
            title = f"`{key}`" + (f": `{chosen}`" if chosen else "")
            text = definition.get("description", "").split("\n")[0]
            parts.append(write_table(title, text, write_rows(definition, definitions)))
            waiting += [(inner, field) for inner, field in definition["properties"].items() if "oneOf" in field]
    return "\n".join(parts)


def find_name(definition: dict[str, Any]) -> str | None:
    """What chooses an item: its ``type``, or a backbone's ``name``."""
    fields = (definition["properties"].get(key, {}) for key in ("type", "name"))
    return next((field["const"] for field in fields if "const" in field), None)


def write_rows(definition: dict[str, Any], definitions: dict[str, Any], prefix: str = "") -> list[list[str]]:
    """A row for each key of an object, and for those of the objects in it, as ``limits.pixels``."""
    rows = []
    for key, field in definition["properties"].items():
        if "$ref" in field:
            rows += write_rows(definitions[find_names(field)[0]], definitions, f"{prefix}{key}.")
        elif "const" not in field:  # type or name, which the title has
            default = field.get("default")
            shown = "" if isinstance(default, dict) or "default" not in field else f"`{json.dumps(default)}`"
            shown = "*required*" if key in definition.get("required", []) else shown
            text = re.sub(r"docs/(\S+\.md)", r"[\1](../\1)", field.get("description", ""))
            rows.append([f"`{prefix}{key}`", describe_type(field), shown, text])
    return rows


def describe_type(field: dict[str, Any]) -> str:
    """The type in words, with its limits."""
    if "oneOf" in field:
        return "object with a `type`"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(describe_type(choice) for choice in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    words = {"array": "list", "string": "text"}.get(field.get("type", ""), field.get("type", "any"))
    items = field.get("items")
    if items:
        words += f" of {describe_type(items)}"
    limits = [f"{sign} {field[name]:,}" for name, sign in LIMITS.items() if name in field]
    return " ".join([words, ", ".join(limits)]).strip()


def find_names(field: dict[str, Any]) -> list[str]:
    """Names of the definitions to which a field refers."""
    return [one["$ref"].rpartition("/")[2] for one in field.get("oneOf", field.get("anyOf", [field])) if "$ref" in one]


def write_table(title: str, text: str, rows: list[list[str]]) -> str:
    """A section with a Markdown table."""
    lines = [f"### {title}", "", *([text, ""] if text else [])]
    if rows:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        table = [["key", "value", "default", "meaning"], ["---"] * 4, *escaped]
        lines += ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*lines, ""])

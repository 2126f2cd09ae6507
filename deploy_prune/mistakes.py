"""What pydantic found wrong with a user's YAML, as one clear line per mistake."""

import difflib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pydantic

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
}


def describe_mistakes(error: pydantic.ValidationError, model: type[pydantic.BaseModel]) -> list[str]:
    """One line per mistake: the dotted key, what was expected, what was got, the nearest known key.

    Args:
        error: what ``model.model_validate`` raised.
        model: the class that was validated; its fields are the known keys.
    """
    return [_describe(mistake, model) for mistake in error.errors(include_url=False)]


def _describe(mistake: Mapping[str, Any], model: type[pydantic.BaseModel]) -> str:
    location: tuple[int | str, ...] = mistake["loc"]
    key = ".".join(str(part) for part in location)
    kind, context = mistake["type"], mistake.get("ctx", {})
    got = "nothing" if mistake["input"] is None else repr(mistake["input"])
    if kind == "missing":
        return f"{key}: this key is required and missing"
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_nearest(str(location[-1]), _known_keys(model, location[:-1]))}"
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    if kind in _EXPECTED:
        return f"{key or 'the file'}: expected {_EXPECTED[kind]}, got {got}"
    if kind == "string_pattern_mismatch":
        pattern = "letters, digits, '.', '_' or '-', beginning with a letter or digit"
        return f"{key}: expected {pattern}, got {got}"
    if kind == "literal_error":
        return f"{key}: expected {context['expected']}, got {got}"
    expected = mistake["msg"].replace("Input should be", "expected").replace("a valid", "a")
    return f"{key}: {expected}, got {got}"


def _known_keys(model: type[pydantic.BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that the section at ``location`` knows."""
    for part in location:
        if isinstance(part, int):  # an entry of a list of sections
            continue
        section: Any = model.model_fields[part].annotation
        if get_origin(section) in (tuple, Union, UnionType):
            section = get_args(section)[0]
        if not (isinstance(section, type) and issubclass(section, pydantic.BaseModel)):
            return []
        model = section
    return list(model.model_fields)


def _nearest(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"

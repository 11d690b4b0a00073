"""The JSON Schema of a plan's files, by which an editor completes and checks them while they are written.

It is made from the model, whose docstrings are its descriptions, and from the patterns and limits of the rules. JSON
Schema cannot say all that the rules say (that a feature is declared, that bounds rise): what it takes may still be
refused by the loader, and what it refuses never loads.
"""

from __future__ import annotations

import ast
import inspect
from datetime import date
from itertools import pairwise
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from heliograph.event import NAME_PATTERN, RESERVED
from heliograph.plan import history_rules, model, reading, rules, value_rules
from heliograph.plan.lint import LINT_RULES
from heliograph.plan.model import Fact, Plan, Property
from heliograph.plan.reading import SHARED, Part

if TYPE_CHECKING:
    import re

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
IDENTITY: Final = "urn:heliograph:plan:2"
"""The schema's id: it ends in the version of the plan format."""

Schema: TypeAlias = dict[str, Any]

_PLAIN: Final[dict[object, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    date: {"type": "string", "format": "date"},
}


def plan_schema() -> Schema:
    """Return the schema of a file: a plan, or a part of one."""
    definitions: dict[str, Schema] = {}
    for kind in (Plan, Part):
        _struct(kind, definitions)
    definitions["Plan"]["required"] = [name for name in definitions["Plan"]["required"] if name not in SHARED]
    for (name, field), limits in _limits().items():
        known = definitions[name]["properties"][field]
        for key, limit in limits.items():  # such as a pattern for items that are known to be text
            known[key] = {**known.get(key, {}), **limit} if isinstance(limit, dict) else limit
    return {
        "$schema": DIALECT,
        "$id": IDENTITY,
        "title": "A tracking plan of Heliograph",
        "description": "docs/plan.md explains every field; `heliograph plan lint` checks more than a schema can.",
        "if": {"type": "object", "required": ["part_of"]},
        "then": {"$ref": "#/$defs/Part"},
        "else": {"$ref": "#/$defs/Plan"},
        "$defs": dict(sorted(definitions.items())),
    }


def _limits() -> dict[tuple[str, str], Schema]:
    """Return what the rules demand of each field, by struct and field."""
    text = {"pattern": r"\S"}
    features = _keys(rules.FEATURE, 1, rules.MAXIMUM_FEATURES) | {"additionalProperties": text}
    events = _keys(NAME_PATTERN, 1, rules.MAXIMUM_EVENTS)
    facts = _keys(rules.FACT, 0, rules.MAXIMUM_FACTS)
    retired = _keys(NAME_PATTERN, 0, history_rules.MAXIMUM_RETIRED)
    shared = {"features": features, "events": events, "facts": facts, "retired": retired}
    word = {"pattern": _whole(rules.MEMBER)}
    words = {"minItems": 1, "maxItems": rules.MAXIMUM_MEMBERS, "uniqueItems": True, "items": word}
    whole = {"minimum": -value_rules.MAXIMUM_INTEGER, "maximum": value_rules.MAXIMUM_INTEGER}
    positive = {"minimum": 1, "maximum": value_rules.MAXIMUM_INTEGER}
    suppress = {
        "properties": {rule.name: text | {"description": rule.meaning} for rule in LINT_RULES},  # to choose from
        "additionalProperties": text,
    }
    values = [kind.__name__ for kind in {*get_args(Property), *get_args(Fact)}]
    return {
        **{(struct, section): limits for struct in ("Plan", "Part") for section, limits in shared.items()},
        **{(struct, "suppress"): suppress for struct in ("Plan", "EventDefinition", *values)},
        **{(struct, "description"): text for struct in ("Plan", "EventDefinition", "Retirement", *values)},
        ("Plan", "name"): {"pattern": _whole(rules.PLAN_NAME)},
        ("Part", "part_of"): {"pattern": _whole(rules.PLAN_NAME)},
        **{("Budget", field): {"exclusiveMinimum": 0} for field in ("event_bits", "user_day_bits")},
        ("Plan", "version"): {"minimum": 1, "maximum": rules.MAXIMUM_VERSION},
        ("Plan", "sources"): {
            "minItems": 1, "maxItems": rules.MAXIMUM_SOURCES, "uniqueItems": True,
            "items": {"pattern": _whole(rules.SOURCE)},
        },
        ("EventDefinition", "action"): text,
        ("EventDefinition", "question"): text,
        ("EventDefinition", "owner"): text | {"not": {"pattern": "@"}},
        ("EventDefinition", "feature"): {"pattern": _whole(rules.FEATURE)},
        ("EventDefinition", "rate"): {"minimum": 1, "maximum": rules.MAXIMUM_RATE},
        ("EventDefinition", "outcomes"): _keys(rules.OUTCOME, 1, rules.MAXIMUM_OUTCOMES) | {
            "additionalProperties": text
        },
        ("EventDefinition", "properties"): _keys(rules.PROPERTY, 0, rules.MAXIMUM_EVENT_PROPERTIES) | _property_names(),
        ("EventDefinition", "renamed_from"): {
            "maxItems": history_rules.MAXIMUM_EARLIER_NAMES, "uniqueItems": True,
            "items": {"pattern": _whole(NAME_PATTERN)},
        },
        ("Deprecation", "reason"): text,
        ("Retirement", "reason"): text,
        ("Retirement", "feature"): {"pattern": _whole(rules.FEATURE)},
        ("IntegerProperty", "minimum"): whole,
        ("IntegerProperty", "maximum"): whole,
        ("IntegerProperty", "precision"): positive,
        ("NumberProperty", "precision"): {"enum": list(value_rules.PRECISIONS)},
        ("DurationProperty", "maximum"): positive,
        ("DurationProperty", "precision"): positive,
        ("CountProperty", "buckets"): {
            "minItems": value_rules.MINIMUM_BUCKETS, "maxItems": value_rules.MAXIMUM_BUCKETS, "uniqueItems": True,
            "items": {"minimum": 0, "maximum": value_rules.MAXIMUM_INTEGER},
        },
        ("MemberProperty", "members"): words,
        ("CountsFact", "members"): words,
        ("CountsFact", "maximum"): {"minimum": 0, "maximum": value_rules.MAXIMUM_INTEGER},
    }  # fmt: skip


def _property_names() -> Schema:
    """Return what is demanded of a property's name beside its pattern."""
    duration = {"type": "object", "required": ["type"], "properties": {"type": {"const": "duration"}}}
    other = {"patternProperties": {f"^(?!.*{value_rules.DURATION_ENDING}$).*$": {"not": duration}}}
    return {"allOf": [{"propertyNames": {"not": {"enum": sorted(RESERVED)}}}, other]}


def _keys(pattern: re.Pattern[str], least: int, most: int) -> Schema:
    """Return what is demanded of the keys of a mapping."""
    return {"propertyNames": {"pattern": _whole(pattern)}, "minProperties": least, "maxProperties": most}


def _whole(pattern: re.Pattern[str]) -> str:
    """Return a pattern that JSON Schema holds against the whole text, as the rules do."""
    return f"^(?:{pattern.pattern})$"


def _schema(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type of the model, and put what it refers to into `definitions`."""
    origin, arguments = get_origin(kind), [each for each in get_args(kind) if each is not NoneType]
    if kind in _PLAIN:
        found = dict(_PLAIN[kind])
    elif origin is Literal:
        found = {"enum": arguments}
    elif origin is dict:
        found = {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    elif origin is tuple:
        found = {"type": "array", "items": _schema(arguments[0], definitions)}
    elif origin not in (Union, UnionType):
        found = _struct(kind, definitions)
    elif len(arguments) == 1:
        found = _schema(arguments[0], definitions)
    elif issubclass(arguments[0], msgspec.Struct):
        found = _tagged(arguments, definitions)
    else:
        found = {"anyOf": [_schema(each, definitions) for each in arguments]}
    return found


def _tagged(kinds: list[type[msgspec.Struct]], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of one of several structs; by cases, so that an editor speaks of the one that is meant."""
    field = str(kinds[0].__struct_config__.tag_field)
    tags = [kind.__struct_config__.tag for kind in kinds]
    return {
        "type": "object",
        "required": [field],
        "properties": {field: {"enum": tags, "description": "What kind of values it has. Free text has no type."}},
        "allOf": [
            {
                "if": {"required": [field], "properties": {field: {"const": tag}}},
                "then": _struct(kind, definitions),
            }
            for tag, kind in zip(tags, kinds, strict=True)
        ],
    }


def _struct(kind: type[msgspec.Struct], definitions: dict[str, Schema]) -> Schema:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # a place in which it may refer to itself
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        described = {key: text for each in reversed(kind.__mro__) for key, text in _docstrings(each).items()}
        properties = {key: _schema(field.type, definitions) for key, field in fields.items()}
        for key, field in fields.items():
            properties[key] |= {"description": described[field.name]} if field.name in described else {}
        tag = kind.__struct_config__.tag
        if tag is not None:
            properties = {str(kind.__struct_config__.tag_field): {"const": tag}, **properties}
        definitions[name] = {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "properties": properties,
            "required": [key for key, field in fields.items() if field.required],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _docstrings(kind: type) -> dict[str, str]:
    """Return what the source says below each field of a struct."""
    modules = {module.__name__: module for module in (model, reading)}
    if (module := modules.get(kind.__module__)) is None:
        return {}
    tree = ast.parse(inspect.getsource(module))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }

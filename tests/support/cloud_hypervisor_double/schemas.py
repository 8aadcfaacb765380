"""What the API accepts, from accepted-*.json (see derive.py). Stricter than the real one, which ignores members that it
does not know."""

import json
from pathlib import Path

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


class Refused(Exception):
    """A body that the OpenAPI document does not allow."""


class Accepted:
    def __init__(self, major):
        name = "accepted-v50.1.json" if major < 53 else "accepted-v53.0.json"
        document = json.loads((Path(__file__).resolve().parent / name).read_text(encoding="utf-8"))
        self.endpoints, self.schemas = document["endpoints"], document["schemas"]

    def check(self, schema, value, where="body"):
        """Raises Refused where the value is not what the schema of that name, or this schema, says."""
        if isinstance(schema, str):
            schema = self.schemas[schema]
        if "$ref" in schema:
            self.check(schema["$ref"], value, where)
            return
        kind = TYPES[schema["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refused(f"{where}: invalid type, expected {schema['type']}")
        if "enum" in schema and value not in schema["enum"]:
            raise Refused(f"{where}: unknown variant `{value}`, expected one of {schema['enum']}")
        if "minimum" in schema and value < schema["minimum"]:
            raise Refused(f"{where}: {value} is less than {schema['minimum']}")
        if kind is list:
            for index, each in enumerate(value):
                self.check(schema["items"], each, f"{where}[{index}]")
        if kind is dict and "properties" in schema:
            for name in schema.get("required", []):
                if name not in value:
                    raise Refused(f"{where}: missing field `{name}`")
            for name, each in value.items():
                if name not in schema["properties"]:
                    raise Refused(f"{where}: unknown field `{name}`")
                self.check(schema["properties"][name], each, f"{where}.{name}")

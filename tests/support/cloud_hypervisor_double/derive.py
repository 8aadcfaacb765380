#!/usr/bin/python3
"""Derives what the double accepts from Cloud Hypervisor's OpenAPI document: the request bodies of the endpoints that
it has, and all schemas that those reach.

  derive.py cloud-hypervisor-v50.1-openapi.yaml > accepted-v50.1.json
"""

import json
import re
import sys

ENDPOINTS = {"/vmm.ping", "/vmm.shutdown", "/vm.info", "/vm.create", "/vm.delete", "/vm.boot", "/vm.pause",
             "/vm.resume", "/vm.shutdown", "/vm.reboot", "/vm.power-button", "/vm.resize", "/vm.resize-disk",
             "/vm.snapshot", "/vm.restore"}
KEPT = ("type", "enum", "minimum", "maximum", "required", "properties", "items", "$ref")


def name_of(reference):
    return reference.rsplit("/", 1)[1]


def reduced(schema):
    """The schema without what says nothing about a body, and with the enumeration that v50.1 writes as a type."""
    kept = {key: value for key, value in schema.items() if key in KEPT}
    written = re.fullmatch(r"enum (\[.*\])", str(kept.get("type", "")))
    if written:
        kept = {"type": "string", "enum": json.loads(written.group(1))}
    if "properties" in kept:
        kept["properties"] = {name: reduced(each) for name, each in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = reduced(kept["items"])
    if "$ref" in kept:
        kept["$ref"] = name_of(kept["$ref"])
    return kept


def reached(schema):
    if "$ref" in schema:
        yield schema["$ref"]
    for each in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from reached(each)


def derive(document):
    schemas = {name: reduced(each) for name, each in document["components"]["schemas"].items()}
    endpoints, wanted = {}, []
    for path, methods in document["paths"].items():
        if path not in ENDPOINTS:
            continue
        (method, operation), = methods.items()
        body = operation.get("requestBody")
        schema = name_of(body["content"]["application/json"]["schema"]["$ref"]) if body else None
        endpoints[path] = {"method": method.upper(), "body": schema}
        wanted += [schema] if schema else []
    used = {}
    while wanted:
        name = wanted.pop()
        if name not in used:
            used[name] = schemas[name]
            wanted += reached(schemas[name])
    return {"endpoints": endpoints, "schemas": dict(sorted(used.items()))}


def text(derived):
    """As JSON with a line for each endpoint and schema."""
    parts = []
    for part, members in derived.items():
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(each)}" for name, each in members.items())
        parts.append(f'  "{part}": {{\n{lines}\n  }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    import yaml

    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(text(derive(yaml.safe_load(file))))

"""Every request that the runtime cloudhv can make (tests/unit/plugins/cloudhv/requests.json, which a unit test compares
with what the code makes) against Cloud Hypervisor's OpenAPI documents, and what the double accepts against them too."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = ROOT / "tests/support/cloud_hypervisor_double"
REFERENCE = ROOT.parent / "shared/reference"
REQUESTS = json.loads((ROOT / "tests/unit/plugins/cloudhv/requests.json").read_text(encoding="utf-8"))
VERSIONS = ("v50.1", "v53.0")

sys.path.insert(0, str(DOUBLE))


@pytest.fixture(scope="module", params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def document(version):
    yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")
    path = REFERENCE / f"cloud-hypervisor-{version}-openapi.yaml"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def strict(node):
    """The schemas as JSON Schema, with unknown members refused."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: strict(value) for key, value in node.items()}
    kind = made.get("type")
    if isinstance(kind, str) and kind.startswith("enum "):  # so in v50.1
        made.update(type="string", enum=json.loads(kind.removeprefix("enum ")))
    if "properties" in made and kind == "object":
        made["additionalProperties"] = False
    return made


def problems(document, request):
    """What the document has against a request."""
    jsonschema = pytest.importorskip("jsonschema", reason="python3-jsonschema is not installed")
    operation = document["paths"].get(request["path"], {}).get(request["method"].lower())
    if operation is None:
        return ["no such operation"]
    if "requestBody" not in operation:
        return [] if request["body"] is None else ["it takes no body"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": strict(document["components"])}
    return [error.message for error in jsonschema.Draft7Validator(whole).iter_errors(request["body"])]


@pytest.mark.parametrize("request_", REQUESTS, ids=[each["what"] for each in REQUESTS])
def test_every_request_is_one_of_the_api(document, request_):
    assert problems(document, request_) == []


def test_the_check_can_fail(document):
    create = next(each for each in REQUESTS if each["path"] == "/vm.create")
    wrong = {"bogus": {"bogus": 1}, "type": {"watchdog": "no"}, "enum": {"disks": [{"image_type": "raw"}]},
             "inner": {"rng": {"src": "/dev/urandom", "source": "x"}}, "required": {"vsock": {"cid": 3}}}
    for name, change in wrong.items():
        assert problems(document, {**create, "body": {**create["body"], **change}}), name
    assert problems(document, {**create, "method": "POST"}) and problems(document, {**create, "path": "/vm.make"})
    assert problems(document, {"method": "PUT", "path": "/vm.boot", "body": {}})


def test_the_double_accepts_what_the_document_does(version, document):
    derive = pytest.importorskip("derive")
    kept = (DOUBLE / f"accepted-{version}.json").read_text(encoding="utf-8")
    assert kept == derive.text(derive.derive(document)), "run derive.py again"


@pytest.mark.parametrize("major", [50, 53])
def test_the_double_accepts_every_request_and_no_other(major):
    schemas = pytest.importorskip("schemas")
    accepted = schemas.Accepted(major)
    for request in REQUESTS:
        endpoint = accepted.endpoints[request["path"]]
        assert endpoint["method"] == request["method"] and (endpoint["body"] is None) == (request["body"] is None)
        if request["body"] is not None:
            accepted.check(endpoint["body"], request["body"])
            with pytest.raises(schemas.Refused):
                accepted.check(endpoint["body"], {**request["body"], "bogus": 1})

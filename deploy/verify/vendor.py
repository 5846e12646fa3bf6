"""Makes the files of `schemas/` anew, from Go modules and a package of PyPI: `python -m deploy.verify.vendor`.

Only the kinds that we use, without descriptions. Each file names its source and version. What a source leaves open, an
object without `properties` or one that keeps unknown fields, stays open. All others are closed: what it does not know
the API server prunes, or refuses with strict validation.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES_VALIDATE, KUBERNETES = "1.37.0", "1.34.0"
KINDS = (
    *("namespace-v1", "serviceaccount-v1", "service-v1", "configmap-v1", "secret-v1", "persistentvolumeclaim-v1"),
    *("deployment-apps-v1", "statefulset-apps-v1", "poddisruptionbudget-policy-v1", "networkpolicy-networking-v1"),
    *("role-rbac-v1", "rolebinding-rbac-v1"),
)
POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
MODULES = {
    "dapr": (
        "github.com/dapr/dapr@v1.18.2",
        tuple(
            f"charts/dapr/crds/{name}.yaml" for name in ("components", "configuration", "resiliency", "subscription")
        ),
    ),
    "knative-serving": ("knative.dev/serving@v0.51.0", ("config/core/300-resources/service.yaml",)),
    "knative-eventing": (
        "knative.dev/eventing@v0.46.0",
        tuple(
            f"config/core/resources/{name}.yaml" for name in ("broker", "trigger", "containersource", "sinkbindings")
        ),
    ),
    "keda": (
        "github.com/kedacore/keda/v2@v2.21.0",
        tuple(f"config/crd/bases/keda.sh_{name}.yaml" for name in ("scaledobjects", "triggerauthentications")),
    ),
    "prometheus-operator": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml"
            for name in ("prometheusrules", "podmonitors")
        ),
    ),
}
CONTRIB = "github.com/dapr/components-contrib@v1.18.3"
SCALERS = ("redis-streams", "kafka", "rabbitmq", "azure-servicebus", "aws-sqs-queue")
DROPPED = ("description", "title", "example", "externalDocs", "default", "nullable")


def closed(schema: Any) -> Any:
    """An OpenAPI schema as a JSON schema: without texts, and without room for unknown fields."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key not in DROPPED}
    for key, value in result.items():
        if key == "properties":
            result[key] = {name: closed(each) for name, each in value.items()}
        elif key not in ("enum", "required"):
            result[key] = closed(value)
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if "properties" in result and "additionalProperties" not in result and not is_open:
        result["additionalProperties"] = False
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result


def module(name: str) -> Path:
    """The folder of a Go module, fetched if need be."""
    command = ["go", "mod", "download", "-json", name]
    done = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True, check=True)  # noqa: S603
    return Path(json.loads(done.stdout)["Dir"])


def custom(name: str) -> dict[str, Any]:
    """The kinds of custom resources of a project."""
    source, files = MODULES[name]
    folder, kinds = module(source), {}
    for file in files:
        for crd in yaml.safe_load_all((folder / file).read_text()):
            group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
            for version in crd["spec"]["versions"]:
                if not version["served"]:
                    continue
                schema = closed(version["schema"]["openAPIV3Schema"])
                schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                kinds[f"{group}/{version['name']}/{kind}"] = schema
    return {"source": source, "kinds": kinds}


def kubernetes(folder: Path) -> dict[str, Any]:
    """The kinds of Kubernetes itself, with the definitions that they refer to."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, f"kubernetes-validate=={KUBERNETES_VALIDATE}"], check=True)  # noqa: S603
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        base = f"kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local-strict"
        everything = json.loads(wheel.read(f"{base}/_definitions.json"))["$defs"]
        read = [json.loads(wheel.read(f"{base}/{kind}.json")) for kind in KINDS]
    kinds = {f"{s['properties']['apiVersion']['enum'][0]}/{s['properties']['kind']['enum'][0]}": s for s in read}
    needed: dict[str, Any] = {}
    waiting = [POD_TEMPLATE, *references(kinds)]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = everything[name]
            waiting += references(everything[name])
    text = json.dumps({"kinds": stripped(kinds), "$defs": stripped(needed)})
    found: dict[str, Any] = json.loads(text.replace("/api/_definitions.json#/$defs/", "#/$defs/"))
    return {"source": f"kubernetes-validate {KUBERNETES_VALIDATE} of PyPI, Kubernetes {KUBERNETES}", **found}


def stripped(schemas: dict[str, Any]) -> dict[str, Any]:
    """The same without texts; they are closed already."""
    return {name: closed(schema) for name, schema in schemas.items()}


def references(schema: Any) -> Iterator[str]:
    """The names of all definitions that a schema refers to."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def components() -> dict[str, Any]:
    """The metadata fields of all Dapr components of the kinds that we use, and those that they must have."""
    found = {}
    for file in sorted(module(CONTRIB).rglob("metadata.yaml")):
        about = yaml.safe_load(file.read_text().expandtabs(1))  # one has a tab
        if about.get("type") not in ("state", "pubsub", "bindings", "secretstores"):
            continue
        fields = {field["name"]: bool(field.get("required")) for field in about.get("metadata") or []}
        for profile in about.get("authenticationProfiles") or []:
            fields |= {field["name"]: False for field in profile.get("metadata") or [] if field["name"] not in fields}
        builtin = [profile["name"] for profile in about.get("builtinAuthenticationProfiles") or []]
        fields |= {
            field["name"]: False
            for profile in about.get("builtinAuthenticationProfiles") or []
            for field in profile.get("metadata") or []
        }
        names = sorted(fields)
        must = sorted(name for name, is_required in fields.items() if is_required)
        about_it = {"fields": names, "required": must, "profiles": builtin}
        found[f"{about['type']}.{about['name']}/{about['version']}"] = about_it
    return {"source": CONTRIB, "components": found}


def pod_annotations() -> dict[str, Any]:
    """The annotations of pods that Dapr's sidecar injector reads."""
    source = MODULES["dapr"][0]
    text = (module(source) / "pkg/injector/annotations/annotations.go").read_text()
    return {"source": source, "annotations": sorted(set(re.findall(r'= "(dapr\.io/[a-z0-9-]+)"', text)))}


def scalers() -> dict[str, Any]:
    """The parameters of KEDA's triggers of the kinds that brokers here have."""
    source = MODULES["keda"][0]
    read = json.loads((module(source) / "schema/generated/scalers-schema.json").read_text())["scalers"]
    found = {each["type"]: [field["name"] for field in each["parameters"]] for each in read}
    return {"source": source, "scalers": {name: found[name] for name in SCALERS}}


def main() -> None:
    """Write all files."""
    with tempfile.TemporaryDirectory() as folder:
        made = {"kubernetes": kubernetes(Path(folder))}
    made |= {name: custom(name) for name in MODULES}
    made |= {"components": components(), "annotations": pod_annotations(), "scalers": scalers()}
    SCHEMAS.mkdir(exist_ok=True)
    for name, content in made.items():
        (SCHEMAS / f"{name}.json").write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

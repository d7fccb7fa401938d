"""The chart: rendered by Helm's engine and held against Kubernetes' schemas, where the release's tools are."""

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support.command_lines import parse

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "genepool"
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
PYTHON = Path(os.environ.get("GENEPOOL_RELEASE_TOOLS", "")) / "python"
RENDERING = Path(__file__).with_name("rendering.py")

EVERYTHING = {
    "image": {"repository": "registry.example/genepool-pool@sha256:0", "pullSecrets": ["pull"]},
    "ledger": {
        "address": "postgresql://genepool@db.example/pool?sslmode=verify-full",
        "passwordSecret": {"name": "ledger", "key": "password"},
    },
    "blobs": {"address": "s3://bucket/pool?region=eu-west-1", "keysSecret": "store"},
    "volume": {"size": "10Gi", "storageClass": "fast"},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "networkPolicy": {
        "clients": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "198.51.100.7/32"}}], "ports": [{"port": 5432}]}],
    },
    "pool": {"proxies": ["192.0.2.7", "2001:db8::/64"]},
    "serviceMonitor": {"enabled": True},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "pool", "operator": "Exists"}],
}


def rendered(values):
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", "import helm_python"], check=False).returncode:
        pytest.skip("GENEPOOL_RELEASE_TOOLS names no environment with Helm's engine (make)")
    return subprocess.run(
        [PYTHON, RENDERING, CHART], input=json.dumps(values), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", params=[{}, EVERYTHING], ids=["the defaults", "everything"])
def chart(request):
    ended = rendered(request.param)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def of_kind(chart, kind):
    return [document for document in chart["documents"] if document["kind"] == kind]


def pod(chart):
    [stateful] = of_kind(chart, "StatefulSet")
    return stateful["spec"]["template"]["spec"]


def test_the_values_fit_their_schema_and_every_one_of_them_is_in_it():
    jsonschema.validate(VALUES, SCHEMA)
    assert set(SCHEMA["properties"]) == {*VALUES, "global"}
    for name, value in VALUES.items():
        if isinstance(value, dict) and "properties" in SCHEMA["properties"][name]:
            assert set(value) <= set(SCHEMA["properties"][name]["properties"]), name


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"pool": {**VALUES["pool"], "anonimous": "nobody"}},
        {"pool": {**VALUES["pool"], "anonymous": "perhaps"}},
        {"ledger": {"address": "postgresql://genepool:secret@db.example/pool"}},
        {"blobs": {"address": "s3://key:secret@bucket/pool"}},
        {"podDisruptionBudget": {"maxUnavailable": 2}},
        {"volume": {"size": "much"}},
    ],
    ids=["a second writer", "a slip", "no such value", "a password", "keys", "a budget", "no quantity"],
)
def test_values_that_are_wrong_are_refused(values):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | values, SCHEMA)


def test_helm_refuses_them_too():
    ended = rendered({"replicas": 2})
    assert ended.returncode != 0
    assert "replicas" in ended.stderr


def test_helm_and_kubernetes_find_nothing(chart):
    assert (chart["lint"], chart["invalid"]) == ([], [])


def test_what_its_containers_run_is_what_the_programs_take(chart):
    [init], [pool] = pod(chart)["initContainers"], pod(chart)["containers"]
    assert init["command"] == ["/bin/sh", "-ec"]
    script, _, *words = init["args"]
    assert script == 'test -e "$1/genepool.toml" || exec genepool-server init "$@"'
    context = parse(" ".join(["genepool-server", "init", *words]))
    assert (context.info_name, str(context.params["folder"])) == ("init", "/var/lib/genepool/pool")
    assert parse(" ".join(["genepool-server", *pool["args"]])).info_name == "serve"
    assert context.params["listen"] is None  # on loopback of the pod: the entrance alone is reached
    [service] = [one for one in of_kind(chart, "Service") if not one["metadata"]["name"].endswith("-metrics")]
    [port] = service["spec"]["ports"]
    [named] = [inner for inner in pool["ports"] if inner["name"] == port["targetPort"]]
    assert context.params["entrance"] == f"0.0.0.0:{named['containerPort']}"
    assert context.params["advertise"].endswith(f":{port['port']}")
    for probe in ("startupProbe", "readinessProbe"):
        assert parse(" ".join(pool[probe]["exec"]["command"])).info_name == "health"
        assert pool[probe]["timeoutSeconds"] > parse(" ".join(pool[probe]["exec"]["command"])).params["seconds"]
    assert pool["livenessProbe"]["tcpSocket"]["port"] in {port["name"] for port in pool["ports"]}


def test_its_pod_is_closed(chart):
    spec = pod(chart)
    assert (spec["enableServiceLinks"], spec["automountServiceAccountToken"]) == (False, False)
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for variable in container.get("env") or []:
            assert "value" not in variable
            assert set(variable["valueFrom"]) == {"secretKeyRef"}


def test_labels_lead_from_one_document_to_the_other(chart):
    labels = of_kind(chart, "StatefulSet")[0]["spec"]["template"]["metadata"]["labels"]
    selectors = [document["spec"]["selector"] for document in of_kind(chart, "Service")]
    selectors += [document["spec"]["selector"]["matchLabels"] for document in of_kind(chart, "PodDisruptionBudget")]
    selectors += [document["spec"]["podSelector"]["matchLabels"] for document in of_kind(chart, "NetworkPolicy")]
    assert len(selectors) == 4
    assert all(selector.items() <= labels.items() for selector in selectors)
    for monitor in of_kind(chart, "ServiceMonitor"):
        watched = monitor["spec"]["selector"]["matchLabels"]
        [service] = [one for one in of_kind(chart, "Service") if watched.items() <= one["metadata"]["labels"].items()]
        assert service["metadata"]["name"].endswith("-metrics")


def test_everything_asked_for_is_there():
    ended = rendered(EVERYTHING)
    chart = json.loads(ended.stdout)
    assert len(of_kind(chart, "ServiceMonitor")) == 1
    assert [word for word in pod(chart)["initContainers"][0]["args"] if word.startswith("--proxy")] == [
        *("--proxy=192.0.2.7", "--proxy=2001:db8::/64")
    ]
    [policy] = {service["spec"].get("externalTrafficPolicy") for service in of_kind(chart, "Service")} - {None}
    assert policy == "Local"
    names = {variable["name"] for variable in pod(chart)["containers"][0]["env"]}
    assert names == {"PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    [policy] = of_kind(chart, "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"] == EVERYTHING["networkPolicy"]["clients"]
    assert policy["spec"]["egress"][1:] == EVERYTHING["networkPolicy"]["egress"]
    assert pod(chart)["containers"][0]["image"] == EVERYTHING["image"]["repository"]

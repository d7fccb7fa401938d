"""`python rendering.py CHART < VALUES`: what Helm makes of a chart; runs where the release's tools are.

It prints `{"lint": [...], "invalid": [...], "documents": [...]}`: Helm's complaints, those of Kubernetes' own schemas,
and the rendered documents. What a chart refuses ends it with the refusal on standard error.
"""

import json
import sys

import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

VERSION = "1.30"
CUSTOM = {"ServiceMonitor"}
"""Kinds that are not Kubernetes' own."""


def main():
    """Read values, write what came of them."""
    values, path = json.load(sys.stdin), sys.argv[1]
    linted = lint(path, values, strict=True)
    with Chart.load(path) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name="demo", namespace="pools")
    documents = [
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    invalid = []
    for document in documents:
        if document["kind"] not in CUSTOM:
            try:
                kubernetes_validate.validate(document, VERSION, strict=True)
            except kubernetes_validate.ValidationError as exc:
                invalid.append(f"{document['kind']}: {exc}")
    messages = [message["error"] for message in linted["messages"] if message["severity"] > 1]
    json.dump({"lint": messages + linted["errors"], "invalid": invalid, "documents": documents}, sys.stdout)


if __name__ == "__main__":
    main()

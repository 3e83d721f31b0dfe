"""Reads dashboards with the models that Grafana generates from its schema, and compares what these
write with the files: integration/dashboards.sh gets the models.
"""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(ours, theirs, path):
    """What is in `ours` and not in `theirs`, which may have defaults besides."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from lost(value, theirs[key], f"{path}.{key}")
            elif value is not None:
                yield f"{path}.{key}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs)):
            yield from lost(one, other, f"{path}[{number}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


def main():
    plugins.register_default_plugins()
    failed = False
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            ours = json.load(file)
        written = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
        found = list(lost(ours, written, ""))
        failed |= bool(found)
        print(f"{name}: {len(ours['panels'])} panels and rows,", "; ".join(found) or "as the schema has it")
    sys.exit(failed)


main()

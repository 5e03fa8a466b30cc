"""The dashboard as Grafana itself understands it: read by the models that Grafana generates from its own schema
(package grafana-foundation-sdk) and written again, nothing may be lost or changed. A field that Grafana does not know,
a value of another shape, a panel type that does not exist: all of them show as a difference.

    python tests/metrics/grafana.py dashboards/s3sweep.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

# Grafana hands an annotation of Prometheus to the data source's plugin, whose own fields these are.
FIELDS_OF_THE_PLUGIN = {f".annotations.list[].{name}" for name in ("step", "textFormat", "titleFormat")}


def differences(ours, theirs, where: str = "") -> list[str]:
    """What of `ours` is not in `theirs`. That `theirs` has more, its defaults, is no matter."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for name, value in ours.items():
            place = f"{where}.{name}"
            if name not in theirs:
                found.append(f"{place}: unknown to Grafana's schema ({json.dumps(value)[:80]})")
            else:
                found += differences(value, theirs[name], place)
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [d for i, pair in enumerate(zip(ours, theirs)) for d in differences(*pair, f"{where}[{i}]")]
    same = ours == theirs and isinstance(ours, bool) == isinstance(theirs, bool)
    return [] if same else [f"{where}: {json.dumps(ours)[:80]} becomes {json.dumps(theirs)[:80]}"]


def main() -> int:
    register_default_plugins()
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    ours = json.loads(text)
    read = Dashboard.from_json(ours)
    theirs = json.loads(json.dumps(read, cls=JSONEncoder))
    found = [d for d in differences(ours, theirs) if re.sub(r"\d+", "", d.split(":")[0]) not in FIELDS_OF_THE_PLUGIN]
    panels = [panel for panel in read.panels if isinstance(panel, Panel)]
    rows = [panel for panel in read.panels if isinstance(panel, RowPanel)]
    # Options that no plugin of the package claimed would have been passed through unread.
    found += [f"panel {p.title!r}: type {p.type_val!r} is none of Grafana's" for p in panels if isinstance(p.options, dict)]
    found += [
        f"panel {p.title!r}: a query that was not read as one of Prometheus"
        for p in panels
        for target in p.targets or []
        if isinstance(target, dict) or type(target).__module__.rsplit(".", 1)[-1] != "prometheus"
    ]
    for line in found:
        print(line)
    print(f"{len(panels)} panels in {len(rows)} rows, schema version {read.schema_version}: {len(found)} differences")
    return 1 if found or not panels else 0


if __name__ == "__main__":
    sys.exit(main())

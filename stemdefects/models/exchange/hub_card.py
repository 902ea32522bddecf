"""A model card with the front matter that model hubs read: task, licence, scores."""

from typing import Any

import yaml

from stemdefects.models.artifact import LoadedModel

USE = """
## Use

```python
import stemdefects as sd

table = sd.detect(sd.read("movie.dm4"), model="path/of/this/folder")
```
"""


def card(model: LoadedModel, text: str) -> str:
    """`text` of the model's own card with front matter before it and how to use it after it."""
    body = text.split("\n---\n", 1)[1] if text.startswith("---\n") else text
    front = yaml.safe_dump(front_matter(model), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{front}---\n{body.rstrip()}\n{'' if USE.strip() in body else USE}"


def front_matter(model: LoadedModel) -> dict[str, Any]:
    """The fields that a hub shows and searches, from the figures of the model's own test."""
    results = []
    for dose, figures in (model.record.get("test") or {}).items():
        kinds = figures.get("kinds", {}) if isinstance(figures, dict) else {}
        metrics = [
            {"type": "f1", "name": f"F1 of {kind}", "value": round(float(values["f1"]), 4)}
            for kind, values in kinds.items()
            if values.get("n") and values.get("f1") is not None
        ]
        if metrics:
            data = {"type": "simulated", "name": f"{model.config.simulation.name}, {dose}"}
            task = {"type": "object-detection", "name": "defects of crystal columns"}
            results.append({"task": task, "dataset": data, "metrics": metrics})
    name = f"{model.material.name}-{model.config.model.name}-{model.id}"
    tags = ["microscopy", "electron-microscopy", "stem", "defects", "materials-science", "jax", model.material.name]
    out: dict[str, Any] = {
        "license": "bsd-3-clause",
        "library_name": "stemdefects",
        "pipeline_tag": "object-detection",
        "tags": tags,
    }
    return out | ({"model-index": [{"name": name, "results": results}]} if results else {})

"""Every block of the chart's values that the documents show is one that the chart takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.apiserver import REPOSITORY
from support.helm import BUNDLED, CHART, Helm


def shown() -> Iterator[tuple[str, dict[str, Any]]]:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        for number, block in enumerate(blocks):
            document = next(yaml.safe_load_all(block), None)
            if isinstance(document, dict) and document.keys() <= values.keys():
                yield f"{path.relative_to(REPOSITORY)}-{number}", document


VALUES = dict(shown())


@pytest.mark.parametrize("name", VALUES)
def test_shown_values_are_taken(helm: Helm, name: str) -> None:
    values = VALUES[name]

    assert helm.render(values if "mlflow" in values else {**values, **BUNDLED})


def test_the_values_without_the_internet_are_among_them() -> None:
    assert any(name.startswith("docs/operations/air-gapped.md") for name in VALUES)

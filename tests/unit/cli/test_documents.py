"""What is written as YAML is read as it was, by this command line and by others."""

from __future__ import annotations

import pytest
import yaml

from vernacular.cli.documents import dump
from vernacular.cli.yamlfile import documents

NUMBERS = ["2e-4", "1e6", "12e4567", "0.1", "0x1f", "012", "1_000"]
TEXTS = [*NUMBERS, "on", "y", "no", "null", "~", "", "2026-01-02", "1:30", "text"]


@pytest.mark.parametrize("value", [*TEXTS, 3, 0.0002, True, None])
def test_values_stay_what_they_are(value: object) -> None:
    text = dump({"value": value}, "yaml")
    (found,) = documents(text)

    assert found.value == {"value": value}
    assert yaml.safe_load(text) == {"value": value}

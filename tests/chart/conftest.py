"""Where helm comes from."""

from __future__ import annotations

import pytest

from support.helm import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The machine's helm, or the dev cluster's."""
    return Helm.find()

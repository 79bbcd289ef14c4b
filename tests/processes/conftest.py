"""What the tests with real processes share."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of journals and sockets, whose names must be short."""
    return tmp_path_factory.mktemp("fleet")

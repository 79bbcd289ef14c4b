"""Plays this example: ``python examples/asgi/run.py``. Needs nothing running; see the README beside it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "play"))

from story import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(HERE, "Pods with FastAPI behind an ASGI middleware"))

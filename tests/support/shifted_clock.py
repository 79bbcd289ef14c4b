"""Wall clocks that are wrong, of processes that the tests start: by a library that is preloaded into them."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = shutil.which("cc")


class ShiftedClock:
    """The clock of the processes that are started with its environment; it can be stepped while they run."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library = library
        self._file = file
        file.touch()
        self.step_to(0)

    @staticmethod
    def built(folder: Path) -> Path:
        """The library; ``cc`` must be there."""
        library = folder / "shifted_clock.so"
        words = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE]
        subprocess.run([COMPILER or "cc", *words], check=True, capture_output=True, text=True)
        return library

    def step_to(self, seconds: int) -> None:
        """Be wrong by so many seconds from now on."""
        with self._file.open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("=q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a process needs for it."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT": str(self._file)}

    @contextmanager
    def for_children(self) -> Iterator[None]:
        """Processes that are started meanwhile have this clock."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

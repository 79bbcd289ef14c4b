"""How much of the CPUs that it may use this process takes."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from stateful_route.domain.load import per_mille

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Over less time a load is noise: until so much has passed, the last one is given again."""

STAT = Path("/proc/self/stat")
CGROUP = Path("/sys/fs/cgroup")

UTIME = 11
STIME = 12
"""Places in ``/proc/self/stat`` behind the program's name, which may hold blanks: fields 14 and 15 of proc(5)."""


class ProcessLoad:
    """The load of this process since it was last asked: per mille, 0 to 1000, of the CPUs that it may use.

    All of its threads count, its children do not. How many CPUs it may use: those of its affinity, or fewer where its
    cgroup (the container's limit) allows less; so a container that is limited to half a CPU and uses it is at 1000.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_seconds: Callable[[], float] | None = None,
        cpus: Callable[[], float] | None = None,
    ) -> None:
        """By default CPU time is read by psutil if it is there (``stateful-route[load]``), else from ``/proc``."""
        self._clock = clock
        self._cpu_seconds = cpu_seconds or cpu_reader()
        self._cpus = cpus or usable_cpus
        self._since, self._used = clock(), self._cpu_seconds()
        self._load = 0.0

    def read(self) -> float:
        """The load since the last reading at least a second ago; 0 in the first second."""
        now = self._clock()
        if now - self._since >= LEAST_SECONDS:
            try:
                used = self._cpu_seconds()
                self._load = per_mille(used - self._used, now - self._since, self._cpus())
                self._since, self._used = now, used
            except Exception as error:  # noqa: BLE001  whatever it is, the pod must go on publishing
                self._since = now
                log.warning("the load of this process cannot be read, the last one is published: %r", error)
        return self._load


def cpu_reader() -> Callable[[], float]:
    """Something that gives the CPU seconds, user's and system's, that this process has used so far."""
    try:
        import psutil
    except ImportError:
        return read_proc if STAT.exists() else read_times

    def read_psutil() -> float:
        times = psutil.Process().cpu_times()  # anew: the process may have forked
        return float(times.user + times.system)

    return read_psutil


def read_proc() -> float:
    """CPU seconds by ``/proc/self/stat``."""
    fields = STAT.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[UTIME]) + int(fields[STIME])) / os.sysconf("SC_CLK_TCK")


def read_times() -> float:
    """CPU seconds where there is neither psutil nor ``/proc``."""
    times = os.times()
    return times.user + times.system


def usable_cpus(cgroup: Path = CGROUP) -> float:
    """How many CPUs this process may use: its affinity, or the limit of its cgroup (version 2 or 1) if that is less."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    limit = _limit(cgroup)
    return count if limit is None else min(count, limit)


def _limit(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        limit = int(quota) / int(period)  # "max", or -1: no limit
    except (ValueError, ZeroDivisionError):
        return None
    return limit if limit > 0 else None

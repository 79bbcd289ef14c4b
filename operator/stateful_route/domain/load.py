"""How loaded a pod says it is: what its app says of itself, mixed with what its process takes of the CPUs."""

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_load, shown

FULL = 1000.0
"""The load of a process that takes all the CPUs it may use: loads of processes are per mille."""


def check_cpu_factor(factor: float) -> float:
    """``factor`` itself, if it is a number from 0 (the app's word alone) to 1 (the CPUs alone).

    Raises:
        InvalidArgument: it is not.
    """
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor <= 1:
        raise InvalidArgument(
            f"cpu_factor is a number from 0 (the app's own load alone) to 1 (its process's alone), not {shown(factor)}"
        )
    return factor


def published_load(process_load: float, load_state: float, cpu_factor: float) -> int:
    """cpuFactor·processLoad + (1 - cpuFactor)·loadState, as a whole number: foreign readers expect one.

    Args:
        process_load: What the process takes of the CPUs that it may use, 0 to 1000.
        load_state: What the app says, on a scale of its own; smaller is less.
        cpu_factor: See `check_cpu_factor`.

    Raises:
        InvalidArgument: ``load_state`` is no finite number.
    """
    return round(cpu_factor * process_load + (1 - cpu_factor) * check_load(load_state))


def per_mille(cpu_seconds: float, seconds: float, cpus: float) -> float:
    """What a process has taken of the CPUs that it may use, 0 to 1000.

    Args:
        cpu_seconds: CPU time that it has used.
        seconds: In how much time; 0 or less: nothing can be said, which counts as no load.
        cpus: How many CPUs it may use; may be a fraction.
    """
    if seconds <= 0 or cpus <= 0:
        return 0.0
    return min(FULL, max(0.0, FULL * cpu_seconds / (seconds * cpus)))

"""What is counted and timed, and how it becomes the metrics of prometheus-client."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stateful_route.domain.meter import Meter
from stateful_route.metrics.families import ROUND_TRIP, STORE_ERRORS, Family

Labels = tuple[str, ...]


def shown(family: Family, values: Mapping[Labels, float]) -> Metric:
    """A counter or gauge with its values, by the values of its labels in their order."""
    of_kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = of_kind(family.name, family.meaning, labels=family.labels)
    for labels, value in sorted(values.items()):
        metric.add_metric(labels, value)
    return metric


class Tally:
    """Counters of some families; any thread may count."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._counts: dict[Family, Counter[Labels]] = {family: Counter() for family in families}
        self._guard = threading.Lock()

    def add(self, family: Family, labels: Labels, count: int = 1) -> None:
        """Count."""
        with self._guard:
            self._counts[family][labels] += count

    def forget(self, first: Labels) -> None:
        """Drop all counts whose labels begin with these."""
        with self._guard:
            for counts in self._counts.values():
                for labels in [labels for labels in counts if labels[: len(first)] == first]:
                    del counts[labels]

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        with self._guard:
            copies = [(family, counts.copy()) for family, counts in self._counts.items()]
        for family, counts in copies:
            yield shown(family, counts)


def histogram(family: Family) -> Histogram:
    """An empty one, in no registry."""
    return Histogram(family.name, family.meaning, family.labels, buckets=family.buckets, registry=None)


def collected(one: Histogram) -> Iterator[Metric]:
    """Its metrics, without the series that say since when each has been there: they would be one in five."""
    for metric in one.collect():
        metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        yield metric


class StoreMeter(Meter):
    """Keeps what is to be said of round trips; the base of all that is kept."""

    def __init__(self, families: Iterable[Family] = ()) -> None:
        """``families``: more counters."""
        self._tally = Tally([STORE_ERRORS, *families])
        self._round_trip = histogram(ROUND_TRIP)

    def round_trip(self, operation: str, seconds: float) -> None:
        """See `Meter`."""
        self._round_trip.labels(operation).observe(seconds)

    def store_failed(self, operation: str, failure: str) -> None:
        """See `Meter`."""
        self._tally.add(STORE_ERRORS, (operation, failure))

    def kept(self) -> Iterator[Metric]:
        """The metrics of what was counted and timed."""
        yield from self._tally.collect()
        yield from collected(self._round_trip)

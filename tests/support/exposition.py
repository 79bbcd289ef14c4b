"""What Prometheus reads, as values."""

from prometheus_client.parser import text_string_to_metric_families

from stateful_route.metrics import families

Samples = dict[tuple[str, ...], float]
"""Name, and the values of the labels in the order of their family → value; without the buckets of histograms."""

ORDER = {
    f"{one.name}{suffix}": one.labels
    for one in families.ALL
    for suffix in (("_sum", "_count") if one.kind == "histogram" else ("",))
}


def samples(text: str) -> Samples:
    return {
        (sample.name, *(sample.labels[label] for label in ORDER[sample.name])): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in ORDER
    }

"""What Prometheus reads, as values."""

from aiohttp import ClientConnectionError, ClientSession
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


async def page(port: int) -> str:
    """The page itself; empty where nobody answers."""
    try:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.content_type == "text/plain"
            return await answer.text()
    except ClientConnectionError:
        return ""

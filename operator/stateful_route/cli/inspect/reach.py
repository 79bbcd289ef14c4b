"""Whether a store's address is one that only the cluster knows, and how to get there from outside."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from stateful_route.store.urls import DEFAULT_PORT

IN_A_POD = "kubectl exec -n stateful-route deploy/stateful-route -- stateful-route"
"""Where the chart was installed as its documentation says."""


def forwarding(url: str, namespace: str) -> str | None:
    """What to type to reach the store from outside the cluster; None: its address is not the cluster's.

    Args:
        url: Of the store.
        namespace: Of the StatefulRoute: a bare name is that of a Service there.
    """
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0].rpartition("@")[2]
    first = urlsplit(f"//{authority.split(',')[0]}")
    host = first.hostname or ""
    if scheme == "unix" or not host or not _is_of_a_cluster(host):
        return None
    if scheme.partition("+")[2]:
        return (
            f"{host!r} looks like a name of the cluster, and the servers of a Sentinel set or a Cluster name each "
            "other by such addresses, too. Run the command in a pod; --redis-url '' has it use this store, not the "
            f"operator's:\n  {IN_A_POD} … -n {namespace} --redis-url ''"
        )
    labels = host.split(".")
    try:
        ip_address(host)
        target, where = "service/SERVICE", "NAMESPACE"
    except ValueError:
        target, where = f"service/{labels[0]}", labels[1] if len(labels) > 1 else namespace
    port = first.port or DEFAULT_PORT
    login = "USER:PASSWORD@" if "@" in rest.partition("/")[0] else ""
    return (
        f"{host!r} looks like an address of the cluster. From outside, forward it and name it:\n"
        f"  kubectl port-forward -n {where} {target} {port}:{port}\n"
        f"  … --redis-url {scheme}://{login}127.0.0.1:{port}"
    )


def of_the_operator(namespace: str) -> str:
    """What to type where the store is the operator's, whose URL is not known here.

    Args:
        namespace: Of the StatefulRoute.
    """
    return (
        "The operator's pod knows the URL, also that of a Sentinel set or a Cluster:\n"
        f"  {IN_A_POD} status -n {namespace}\n"
        "One server can be forwarded:\n"
        "  kubectl port-forward -n NAMESPACE service/VALKEY 6379:6379\n"
        "  … --redis-url redis://USER:PASSWORD@127.0.0.1:6379"
    )


def _is_of_a_cluster(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        labels = host.split(".")
        return host != "localhost" and (len(labels) <= 2 or "svc" in labels)  # noqa: PLR2004  name.namespace
    return address.is_private and not address.is_loopback

"""What should be put right although users are routed, in the words of the condition Degraded."""

from collections.abc import Iterable

from stateful_route.api.conditions import Reason
from stateful_route.reconcile.claims import Claims, divide
from stateful_route.reconcile.definition import UPGRADE, Definition
from stateful_route.reconcile.grants import GRANT
from stateful_route.reconcile.status import Finding


def amiss(
    namespace: str,
    claims: Claims,
    definition: Definition,
    refused: Iterable[str | None],
    odd: Iterable[Finding] = (),
) -> Finding | None:
    """All that is amiss, under the reason of what comes first; None: nothing is.

    Args:
        namespace: Of the StatefulRoute.
        claims: Who is set to serve it.
        definition: Of the resource.
        refused: What the API server has refused for want of a right; None: nothing.
        odd: What is odd about its workload and pods.
    """
    found: list[Finding] = []
    if missing := [text for text in (*refused, claims.refused) if text]:
        found.append((Reason.MISSING_PERMISSION, f"{'; '.join(dict.fromkeys(missing))}: {GRANT}"))
    if waiting := claims.contenders(namespace):
        found.append((Reason.CONTESTED, f"{', '.join(waiting)} would serve it, too: {divide(claims.me, namespace)}"))
    if definition.lacking:
        text = (
            f"the CRD in the cluster is older than the operator, and lacks {', '.join(definition.lacking)}: {UPGRADE}"
        )
        found.append((Reason.OUTDATED_CRD, text))
    found += odd
    if not found:
        return None
    return found[0][0], ". Besides, ".join(text for _, text in found)

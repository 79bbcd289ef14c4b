"""Who serves a namespace, as it follows from what stands on its StatefulRoutes, whatever order that is told in."""

from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.claims import Claim, holder
from stateful_route.reconcile.claims import Claims

ME, OTHERS = "system/me", ("system/a", "system/b")
NAMESPACE = "games"


def body(number, version, operator, contender):
    status = {}
    if operator:
        status["operator"] = {"name": operator, "renewTime": f"at {version}", "seconds": 3600}
    if contender:
        status["contenders"] = {contender: {"renewTime": f"at {version}"}}
    meta = {
        "uid": f"uid-{number}",
        "namespace": NAMESPACE,
        "name": f"route-{number}",
        "resourceVersion": str(version),
        "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
    }
    return {"metadata": meta, "status": status}


changes = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["", ME, *OTHERS]), st.sampled_from(["", *OTHERS]), st.booleans()),
    max_size=40,
)


@given(changes)
def test_what_is_kept_up_agrees_with_a_look_at_every_route(steps):
    claims, now = Claims(None, ME, 3600), {}
    for version, (number, operator, contender, goes) in enumerate(steps, start=1):
        if goes:
            claims.forget(f"uid-{number}")
            now.pop(number, None)
        else:
            claims.observe(body(number, version, operator, contender))
            now[number] = (operator, contender)
        stands = [Claim((float(number), ""), operator, alive=True) for number, (operator, _) in now.items()]
        assert claims.holder(NAMESPACE) == holder(stands, ME)
        assert set(claims.contenders(NAMESPACE)) == {contender for _, contender in now.values() if contender}

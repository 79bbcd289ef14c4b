"""The resource definition, in the session's control plane."""

import asyncio
import contextlib

from stateful_route.api.crd import load_crd
from stateful_route.kube.client import KubeError
from support.scene import TestKube


async def apply_crd(kube: TestKube) -> None:
    """Install it, or bring it up to date; until the API server serves it."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = load_crd()
    try:
        await kube.create(path, crd)
    except KubeError as error:
        if not error.conflict:
            raise
        await kube.merge(f"{path}/{crd['metadata']['name']}", crd)
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(KubeError):
                await kube.get("/apis/statefulroute.io/v1alpha1/statefulroutes")
                return
            await asyncio.sleep(0.05)

"""StatefulRoutes on a real API server, and its answers to bad requests."""

import json
import uuid
from functools import partial

from kubernetes import client

from stateful_route.api.statefulroute import GROUP, KIND, PLURAL, VERSION

BAD_REQUEST, NOT_FOUND, UNPROCESSABLE = 400, 404, 422


class Refused(Exception):  # noqa: N818  reads well in the tests
    """The API server's answer to a bad request: its status code and message."""

    def __init__(self, error):
        super().__init__(json.loads(error.body)["message"])
        self.code = error.status


class Server:
    """StatefulRoutes of one namespace on a real API server."""

    def __init__(self, connection, namespace):
        self.routes = client.CustomObjectsApi(connection)
        self.namespace = namespace
        self.where = (GROUP, VERSION, namespace, PLURAL)

    def serves(self):
        """True once the CRD is established and the API server has taken notice, a moment later."""
        try:
            self.routes.list_namespaced_custom_object(*self.where)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def create(self, *, dry_run=None, validation="Strict", **parts):
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": {"name": f"r-{uuid.uuid4().hex[:8]}"}}
        create = partial(self.routes.create_namespaced_custom_object, *self.where, dry_run=dry_run)
        return answer(create, body | parts, field_validation=validation)

    def patch(self, name, body, *, status=False, dry_run=None):
        routes = self.routes
        patch = routes.patch_namespaced_custom_object_status if status else routes.patch_namespaced_custom_object
        return answer(
            partial(patch, *self.where, name), body, dry_run=dry_run, _content_type="application/merge-patch+json"
        )


def answer(call, *args, **options):
    try:
        return call(*args, **options)
    except client.ApiException as error:
        raise Refused(error) from None

"""Metrics for Prometheus: ``from stateful_route.metrics import instrument`` for callers; the operator has its own.

Needs the extra ``metrics``; nothing else imports this.
"""

try:
    import prometheus_client as _prometheus_client
except ModuleNotFoundError as error:
    message = "metrics need prometheus-client: pip install 'stateful-route[metrics]'"
    raise ModuleNotFoundError(message, name=error.name) from None

from stateful_route.metrics.caller import Instrumentation, instrument

del _prometheus_client

__all__ = ["Instrumentation", "instrument"]

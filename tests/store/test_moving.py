"""Which migrations run: links that found nobody, links that come late to a pod that is being emptied."""

import asyncio
import time
from collections.abc import Mapping

import pytest

from stateful_route.domain.lifecycle import Verdict
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import Judgement
from stateful_route.reconcile import moving as module
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.moving import Moving
from stateful_route.store.index import count_links
from stateful_route.store.links import set_link_call
from stateful_route.store.states import claim

from .test_ledger import OWNER, ROUTE

GONE = Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.GONE)
READY = Verdict(RoutingState.READY, LinkAction.STAY, Reason.READY)
REPLACED = Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.REPLACED)

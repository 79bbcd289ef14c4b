"""``doctor``: gathers what can be known of an installation, has it judged, and prints the findings."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stateful_route.api.crd import known_fields, load_crd
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.answers import NO, Output, advised, fail, notes, print_answer
from stateful_route.cli.inspect.examination import examine_operator, examine_service, examine_workload, last_at_work
from stateful_route.cli.inspect.rights import examine_rights
from stateful_route.cli.inspect.session import NotThere, Session
from stateful_route.domain.diagnosis import Finding, Severity, judge_clocks, judge_server, worst
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.client import KubeError
from stateful_route.kube.objects import VERSION
from stateful_route.store.connection import Store
from stateful_route.store.server import check_server
from stateful_route.store.survey import survey

COLOURS = {Severity.OK: "green", Severity.UNKNOWN: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


async def examine(session: Session, service: str, *, operator: bool, strict: bool) -> None:
    """Look at everything and print what was found; ends with exit code 3 when that is bad."""
    findings = await _attempt("Kubernetes", "", lambda: _cluster(session))
    routes: list[StatefulRoute] = []
    try:
        routes = [await session.route(service)] if service else await session.routes()
    except (KubeError, NotThere) as error:
        findings.append(_failure("StatefulRoutes", session.namespace, error))
    else:
        message = ", ".join(route.metadata.name for route in routes) or "none: nothing is routed here"
        severity = Severity.OK if routes else Severity.WARNING
        findings.append(Finding(severity, "StatefulRoutes", session.namespace, message))
    findings += [_failure("StatefulRoutes", session.namespace, error) for error in session.unfit.values()]
    findings += await _attempt("rights", "", lambda: examine_rights(session, routes, operator=operator))
    stores: set[Store] = set()
    seen = await session.routes_everywhere() if routes else []
    for route in routes:
        findings += examine_operator(route, last_at_work(route, seen), session.kube.clock.now())
        findings += await _route(session, route, stores)
    _print(session, findings)
    bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if worst(findings) in bad:
        fail(_summary(findings), NO)
    notes().print(_summary(findings), markup=False)


async def _route(session: Session, route: StatefulRoute, seen: set[Store]) -> list[Finding]:
    name = route.metadata.name
    findings: list[Finding] = []
    try:
        store = await session.store(route)
    except StatefulRouteError as error:
        findings.append(_failure("Redis", name, error))
        return findings + await _attempt("pods", name, lambda: examine_workload(session, route))
    if store not in seen:
        seen.add(store)
        findings += await _attempt("Redis", store.label, lambda: _store(store))
    return findings + await _attempt("service", name, lambda: examine_service(session, route, store))


async def _cluster(session: Session) -> list[Finding]:
    version = await session.kube.get("/version")
    found = [Finding(Severity.OK, "Kubernetes", "", f"{version.get('gitVersion', '?')}")]
    shipped = load_crd()
    name = shipped["metadata"]["name"]
    apply = "install the CRD of this version: kubectl apply -f crds/, or upgrade the chart"
    try:
        crd = await session.kube.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    except KubeError as error:
        if error.not_found:
            return [*found, Finding(Severity.ERROR, "CRD", name, "it is not installed", apply)]
        if error.forbidden:
            return [*found, Finding(Severity.UNKNOWN, "CRD", name, "you may not read CustomResourceDefinitions")]
        raise
    here, wanted = known_fields(crd, VERSION), known_fields(shipped, VERSION)
    lacking, more = sorted(wanted - here), sorted(here - wanted)
    if not here:
        served = ", ".join(v["name"] for v in crd["spec"]["versions"] if v.get("served"))
        found.append(Finding(Severity.ERROR, "CRD", name, f"it serves {served or 'nothing'}, not {VERSION}", apply))
    elif lacking:
        message = f"it is older than this stateful-route, and lacks {', '.join(lacking)}"
        found.append(Finding(Severity.ERROR, "CRD", name, message, apply))
    elif more:
        message = f"it is newer than this stateful-route, which does not know {', '.join(more)}"
        found.append(Finding(Severity.WARNING, "CRD", name, message, "upgrade stateful-route"))
    else:
        found.append(Finding(Severity.OK, "CRD", "", f"{VERSION} is served, with every field of this version"))
    return found


async def _store(store: Store) -> list[Finding]:
    await check_server(store)
    servers = await survey(store)
    versions = ", ".join(sorted({server.version for server in servers}))
    found = [
        Finding(Severity.OK, "Redis", store.label, f"{versions}, {len(servers)} {_plural(len(servers), 'server')}")
    ]
    for server in servers:
        if not server.replica:
            found += judge_server(server)
    return [*found, *judge_clocks(servers)]


async def _attempt(check: str, subject: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What was found; where looking fails, that is what was found."""
    try:
        return await look()
    except StatefulRouteError as error:
        return [_failure(check, subject, error)]


def _failure(check: str, subject: str, error: Exception) -> Finding:
    message, _, advice = (str(error) if "\n" in str(error) else advised(error)).partition("\n")
    return Finding(Severity.ERROR, check, subject, message, advice.strip())


def _print(session: Session, findings: Sequence[Finding]) -> None:
    output = session.access.output
    if output is not Output.TABLE:
        print_answer(output, [asdict(finding) for finding in findings])
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(f"{finding.subject}: {finding.message}" if finding.subject else finding.message)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="bold")
        table.add_row(Text(finding.severity, style=COLOURS[finding.severity]), finding.check, text)
    Console(highlight=False).print(table)


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    words = [(Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.UNKNOWN, "unknown")]
    parts = [f"{counts[severity]} {_plural(counts[severity], word)}" for severity, word in words if counts[severity]]
    return f"{', '.join(parts) or 'nothing is wrong'}; {counts[Severity.OK]} checks are fine"


def _plural(count: int, word: str) -> str:
    return word if count == 1 or word == "unknown" else f"{word}s"

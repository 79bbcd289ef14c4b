"""Users whose requests are under way in every hand-over, and a database that keeps every version: what is lost?"""

import time
from collections import Counter

from support.active_fleet import PODS, active
from support.lost_updates import inexcusable, lost, overwritten, saves_by_former_owners, two_owners
from support.routed_service import EXPIRE_SECONDS

LATE_SECONDS = 0.5


def told(fleet, began):
    """What has become of all, for whoever reads the test's output."""
    record = fleet.record
    lines = Counter(f"{version.kind}s {'accepted' if version.accepted else 'refused'}" for version in record.versions)
    gone = lost(record)
    print(f"\n  {time.monotonic() - began:.0f} s: {dict(fleet.answers)}; {dict(lines)}")
    print(f"  lost updates: {len(gone)} of {len(record.acknowledged)}, {dict(Counter(one.pod for one in gone))}")
    return gone


async def test_no_update_is_lost_in_a_rolling_update_and_a_drain(folder):
    began = time.monotonic()
    async with active(folder, answer_seconds=8.0) as fleet:
        for ordinal in PODS:
            await fleet.rounds(2)
            await fleet.end_pod(ordinal)
            await fleet.rounds(2)
            await fleet.start_pods([ordinal])
        for ordinal in (0, 1):
            await fleet.rounds(2)
            await fleet.drain_pod(ordinal)
            await fleet.rounds(2)
            await fleet.undrain_pod(ordinal)
        await fleet.rounds(5)
    gone = told(fleet, began)
    record = fleet.record
    assert gone == []
    assert saves_by_former_owners(record.versions) == []
    assert overwritten(record.versions) == []
    assert two_owners(record) == []
    assert len(record.acknowledged) > 1000
    assert sum(version.kind == "save" for version in record.versions) > len(PODS)


async def test_what_failures_lose_was_not_saved_and_nothing_newer_is_overwritten(folder):
    began = time.monotonic()
    async with active(folder, answer_seconds=0.6, save_seconds=0.5) as fleet:
        await fleet.rounds(5)
        await fleet.kill_pod(0)
        await fleet.rounds(3)
        await fleet.start_pods([0])
        await fleet.rounds(3)
        await fleet.freeze_pod(2, 2 * EXPIRE_SECONDS)
        await fleet.rounds(5)
        await fleet.kill_pod(1)
        await fleet.start_pods([1])
        await fleet.rounds(5)
    gone = told(fleet, began)
    record = fleet.record
    assert inexcusable(gone, record.versions, fleet.failures, LATE_SECONDS) == []
    assert saves_by_former_owners(record.versions) == []
    assert overwritten(record.versions) == []
    assert two_owners(record) == []

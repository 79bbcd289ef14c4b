"""The table of servers: how it is written, and that the documents hold the one of these servers."""

from pathlib import Path

import matrix
import matrix_servers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "servers.md"


def test_a_table_has_a_row_for_each_topology_and_a_note_for_what_does_not_work():
    notes = []
    cells = [matrix.noted(notes, why) for why in ("too old", "a proxy", "too old")]
    assert cells == ["no (1)", "no (2)", "no (1)"]
    lines = list(matrix.table([["Redis 6.2", "Cluster", "yes", *cells]], notes, "2026-11-30"))
    assert lines[0] == "Tried on 2026-11-30:"
    assert lines[2].split(" | ")[2:4] == ["scripts load", "links"]
    assert lines[4] == "| Redis 6.2 | Cluster | yes | no (1) | no (2) | no (1) |"
    assert lines[-2:] == ["1. too old", "2. a proxy"]


def test_the_documents_hold_the_table_of_all_servers_and_topologies():
    text = PAGE.read_text()
    assert "| " + " | ".join(matrix.COLUMNS) + " |" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    held = {(row[0], row[1]) for row in rows if len(row) == len(matrix.COLUMNS)}
    for subject in matrix_servers.SUBJECTS:
        for topology in subject.topologies:
            assert any(subject.source in where and name == topology for where, name in held), (subject, topology)


def test_envoy_is_told_both_addresses():
    text = str(matrix_servers.envoy_settings(7001, 7002))
    assert "'port_value': 7001" in text
    assert "'port_value': 7002" in text

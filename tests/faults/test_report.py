"""The table of the faults, in docs/reliability.md."""

import pytest

from tests.faults.report import table


@pytest.mark.quick
@pytest.mark.parametrize(
    ("test", "shown"),
    [
        ("test_04_worker_killed[begun]", "| 4 | worker killed[begun] | 2 | 1 | 30 | 3 |"),
        ("test_16_a_raise", "| 16 | a raise | 2 | 1 | 30 | 3 |"),
        ("test_eight_operators[sqlite-1]", "|  | eight operators[sqlite-1] | 2 | 1 | 30 | 3 |"),
    ],
)
def test_the_table_adds_up_the_runs_of_each_test(test, shown):
    runs = [
        {"test": test, "passed": True, "claims": 10, "kills": 1},
        {"test": test, "passed": False, "claims": 20, "kills": 2},
    ]
    assert table(runs)[-1] == shown

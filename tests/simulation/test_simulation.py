"""The quick share of the simulation that every test run takes; `make simulate` goes on from there."""

from pathlib import Path

import pytest

from deploy.processes import ROOT
from tests.simulation.machine import Simulation
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.mutant import Mutant
from tests.simulation.play import LINES, a_world, one_seed
from tests.simulation.promises import Violation
from tests.simulation.shorten import shortened

SEEDS = range(1, 11)
"""The same for every run, so that a change fails, and not the speed of a machine. They take 20 to 40 s."""
LEAST_STEPS = 1500


@pytest.mark.filterwarnings("ignore")
def test_no_step_breaks_a_promise() -> None:
    steps = Simulation.steps
    with a_world():
        for number in SEEDS:
            try:
                one_seed(number)
            except Violation as violation:
                pytest.fail(f"make simulate SEED={number}\n{shortened(violation)}")
    assert Simulation.steps - steps > LEAST_STEPS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lines", LINES[1:])
def test_nor_does_one_where_several_servers_hold_the_lines(lines: str) -> None:
    steps = Simulation.steps
    with a_world(lines=lines):
        one_seed(SEEDS[0])
    assert Simulation.steps - steps > LEAST_STEPS / len(SEEDS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_can_still_be_made(mutant: Mutant, tmp_path: Path) -> None:
    for path in {edit.path for edit in mutant.edits}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    mutant.applied_to(tmp_path)

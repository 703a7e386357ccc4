"""The mutants: the product with one guard taken out, or with one fault as it was. The simulation has to catch each."""

from tests.simulation.mutants import of_lists, of_pools, of_the_line, of_the_sale, of_two_people, of_waves
from tests.simulation.mutants.mutant import Mutant

MUTANTS: list[Mutant] = [
    *of_the_line.MUTANTS,
    *of_the_sale.MUTANTS,
    *of_lists.MUTANTS,
    *of_pools.MUTANTS,
    *of_waves.MUTANTS,
    *of_two_people.MUTANTS,
]

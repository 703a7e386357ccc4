"""The faults of the stores by the words of the histories, each with what it does to the world."""

from collections.abc import Callable

from tests.simulation.world import World

TEN_MINUTES = 600_000


def _runs_again(world: World) -> bool:
    world.start_redis_again()
    return True


def _is_wiped(world: World) -> bool:
    world.wipe_redis()
    return True


def _comes_back_empty(world: World) -> bool:
    world.wipe_redis()
    world.start_redis_again()
    return True


def _fails_over(world: World) -> bool:
    if world.replica is None:
        return _runs_again(world)
    world.fail_over()
    return True


def _replica_stops(world: World) -> bool:
    world.keep_replica()
    return False


def _clock_steps(ms: int) -> Callable[[World], bool]:
    def step(world: World) -> bool:
        world.step_redis_clock(ms)
        return False

    return step


def _loses_the_list(loss: Callable[[World], None]) -> Callable[[World], bool]:
    def lose(world: World) -> bool:
        loss(world)
        return False

    return lose


def _is_away(world: World) -> bool:
    world.redis_away = True
    return False


OF_REDIS: dict[str, Callable[[World], bool]] = {
    "Redis starts again with its file": _runs_again,
    "Redis is wiped": _is_wiped,
    "Redis starts again and is empty": _comes_back_empty,
    "a replica of Redis hears nothing from now on": _replica_stops,
    "Redis fails over to the replica": _fails_over,
    "the clock of Redis steps forward by 10 minutes": _clock_steps(TEN_MINUTES),
    "the clock of Redis steps back by 10 minutes": _clock_steps(-TEN_MINUTES),
    "the clock of Redis steps back by 2 s": _clock_steps(-2000),
    "Redis loses the list": _loses_the_list(World.lose_list),
    "Redis loses who has one of another wave": _loses_the_list(World.lose_elsewhere),
    "a piece of the list in Redis is left": _loses_the_list(World.cut_list),
    "Redis answers no more": _is_away,
}
"""Each returns whether Redis may have lost something."""


def _double(world: World) -> None:
    world.jobs.waiting += world.jobs.waiting[:1]


def _lose(world: World) -> None:
    del world.jobs.waiting[:1]


OF_THE_QUEUE: dict[str, Callable[[World], None]] = {
    "a job in the queue is doubled": _double,
    "a job in the queue is lost": _lose,
    "the bell is lost": World.lose_bell,
}

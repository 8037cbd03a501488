"""Who is next: the oldest, as many as there is room for, and nobody behind all the large ones."""

from hypothesis import given
from hypothesis import strategies as st

from server.turns import Turns

ROOM = 10


def turns_of(weights: list[int], most: int) -> list[list[int]]:
    """All turns until nobody waits."""
    turns, waiting, found = Turns(ROOM), dict(enumerate(weights)), []
    while waiting:
        found.append(turns.choose(waiting.items(), most))
        for key in found[-1]:
            del waiting[key]
    return found


waits = given(st.lists(st.integers(0, 2 * ROOM), max_size=30), st.integers(1, 5))


@waits
def test_everybody_has_exactly_one_turn(weights: list[int], most: int) -> None:
    assert sorted(key for turn in turns_of(weights, most) for key in turn) == list(range(len(weights)))


@waits
def test_a_turn_has_room_for_all_in_it_unless_it_is_of_one_alone(weights: list[int], most: int) -> None:
    for turn in turns_of(weights, most):
        assert len(turn) <= most
        assert len(turn) == 1 or sum(weights[key] for key in turn) <= ROOM


@waits
def test_no_two_large_ones_follow_one_another_while_a_small_one_waits(weights: list[int], most: int) -> None:
    turns = turns_of(weights, most)
    is_large = [weights[turn[0]] > ROOM for turn in turns]
    for at in range(1, len(turns)):
        if is_large[at - 1] and is_large[at]:
            assert all(weights[key] > ROOM for turn in turns[at:] for key in turn)


@waits
def test_the_oldest_waits_for_one_turn_of_others_at_most(weights: list[int], most: int) -> None:
    turns, waiting = Turns(ROOM), dict(enumerate(weights))
    while waiting:
        oldest = next(iter(waiting))
        chosen = turns.choose(waiting.items(), most)
        for key in chosen:
            del waiting[key]
        if oldest not in chosen and waiting:
            assert oldest in turns.choose(waiting.items(), most)
            del waiting[oldest]

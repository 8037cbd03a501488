"""Numbers too small for a whole mantissa."""

import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eventmodel.denormals import denormals_as_zero

ON_LINUX = (platform.system(), platform.machine()) == ("Linux", "x86_64")
pytestmark = pytest.mark.skipif(not ON_LINUX, reason="it changes nothing but on Linux and x86-64")


def are_there() -> bool:
    return bool(np.float32(1e-30) * np.float32(1e-10) > 0)


def test_they_are_zero_inside_and_numbers_again_afterwards() -> None:
    with denormals_as_zero():
        assert not are_there()
    assert are_there()


def test_they_are_numbers_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), denormals_as_zero():
        raise ValueError("inside")
    assert are_there()


def test_threads_that_the_block_starts_take_it_over_and_others_do_not() -> None:
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as within:
        assert before.submit(are_there).result()
        with denormals_as_zero():
            assert not within.submit(are_there).result()
            assert before.submit(are_there).result()


def test_what_is_computed_is_rounded_as_before() -> None:
    with denormals_as_zero():
        assert np.float64(1) / np.float64(3) == 1 / 3

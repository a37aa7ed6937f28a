"""Metal's wired limit: a scope that leaves things as they were."""

import pytest

from models.hardware.device_memory import wired_limit


class Device:
    """Remembers what was set; answers with the limit before, as mlx does."""

    def __init__(self, limit=0):
        self.limit = limit

    def set_wired_limit(self, limit):
        before, self.limit = self.limit, limit
        return before


def test_the_limit_holds_inside_and_is_restored_after():
    device = Device(7)
    with wired_limit(1000, device=device) as held:
        assert (held, device.limit) == (1000, 1000)
    assert device.limit == 7


def test_the_limit_is_restored_after_an_exception_too():
    device = Device(7)
    with pytest.raises(ValueError, match="mid-sentence"), wired_limit(1000, device=device):
        raise ValueError("mid-sentence")
    assert device.limit == 7


def test_a_generation_that_is_given_up_restores_it():
    device = Device()

    def frames():
        with wired_limit(1000, device=device):
            yield 1
            yield 2

    running = frames()
    next(running)
    assert device.limit == 1000
    running.close()
    assert device.limit == 0


@pytest.mark.parametrize("limit", [0, -5])
def test_no_limit_sets_nothing(limit):
    device = Device(7)
    with wired_limit(limit, device=device) as held:
        assert (held, device.limit) == (0, 7)


def test_without_metal_nothing_happens():
    mx = pytest.importorskip("mlx.core")
    if mx.metal.is_available():
        pytest.skip("this machine has Metal")
    with wired_limit(1 << 30) as held:
        assert held == 0

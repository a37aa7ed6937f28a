"""Memory before a load: what is needed against what is free."""

import os
import sys

import pytest

from models.errors import NotEnoughMemory
from models.store.memory import _usable_pages, _VMStatistics64, available_bytes, linux_available_bytes, memory_verdict
from tests.models.store.making import slug, speech_model


@pytest.fixture
def folder(tmp_path):
    return speech_model(tmp_path / slug("a/b"))


def test_the_need_is_one_and_a_half_times_the_real_weights(folder):
    paths = (folder / "model.safetensors", folder / "speech_tokenizer/model.safetensors")
    weights_bytes = sum(path.stat().st_size for path in paths)
    verdict = memory_verdict(folder, free_bytes=1 << 40)
    assert verdict.weights_bytes == weights_bytes
    assert verdict.needed_bytes == round(weights_bytes * 1.5)
    assert verdict.fits
    assert verdict.warning is None


def test_too_little_memory_is_a_warning_by_default(folder):
    verdict = memory_verdict(folder, free_bytes=10)
    assert not verdict.fits
    assert "0.0 GB are free" in verdict.warning


def test_too_little_memory_is_a_refusal_when_the_setting_says_so(folder):
    with pytest.raises(NotEnoughMemory) as caught:
        memory_verdict(folder, free_bytes=10, policy="refuse")
    assert "quantised" in caught.value.hint
    assert caught.value.retryable


def test_the_factor_is_a_setting(folder):
    assert memory_verdict(folder, factor=3, free_bytes=0).needed_bytes == 3 * memory_verdict(folder).weights_bytes


def test_this_machine_says_how_much_is_free():
    free_bytes, source = available_bytes()
    assert free_bytes > 0
    assert source in ("mach", "meminfo", "cgroup")


def fake_root(tmp_path, *, available_kb, cgroup="", **files):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available_kb} kB\n")
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for path, text in files.items():
        target = tmp_path / "sys/fs/cgroup" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return tmp_path


def test_linux_gives_what_the_kernel_calls_available(tmp_path):
    assert linux_available_bytes(fake_root(tmp_path, available_kb=1000)) == (1_024_000, "meminfo")


GROUP_FILES = {
    "limited": ({"a/b/memory.max": "900000", "a/b/memory.current": "400000"}, 500_000),
    "limited above": (
        {"a/b/memory.max": "max", "a/b/memory.current": "1", "a/memory.max": "700000", "a/memory.current": "600000"},
        100_000,
    ),
    "cache counts as free": (
        {
            "a/b/memory.max": "900000", "a/b/memory.current": "800000",
            "a/b/memory.stat": "anon 1\ninactive_file 300000\n",
        },
        400_000,
    ),
    "full": ({"a/b/memory.max": "100", "a/b/memory.current": "400"}, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUP_FILES)
def test_the_tightest_control_group_caps_what_is_available(case, tmp_path):
    files, expected = GROUP_FILES[case]
    root = fake_root(tmp_path, available_kb=1000, cgroup="0::/a/b\n", **files)
    assert linux_available_bytes(root) == (expected, "cgroup")


def test_the_older_control_groups_cap_it_too(tmp_path):
    files = {"memory/x/memory.limit_in_bytes": "5000", "memory/x/memory.usage_in_bytes": "2000"}
    root = fake_root(tmp_path, available_kb=1000, cgroup="4:cpu:/x\n3:memory:/x\n", **files)
    assert linux_available_bytes(root) == (3000, "cgroup")


def test_an_unlimited_group_caps_nothing(tmp_path):
    files = {"a/memory.max": "max\n", "a/memory.current": "5\n"}
    root = fake_root(tmp_path, available_kb=1000, cgroup="0::/a\n", **files)
    assert linux_available_bytes(root) == (1_024_000, "meminfo")


def test_macos_counts_free_inactive_purgeable_and_speculative_pages():
    pages = _VMStatistics64(
        free_count=1, active_count=2, inactive_count=4, wire_count=8, purgeable_count=16, speculative_count=32
    )
    assert _usable_pages(pages) == 1 + 4 + 16 + 32


@pytest.mark.skipif(sys.platform != "darwin", reason="asks the Mach kernel")
def test_the_mach_kernel_answers():
    assert 0 < available_bytes()[0] <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

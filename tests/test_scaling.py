"""The cost of data parallelism, computed from the all-reduces of the compiled step."""

import pytest

from benchmarks.scaling import NETWORKS, Options, all_reduces, efficiencies, ring_seconds


def test_bytes_of_all_reduces_are_read_from_tuples_and_single_arrays() -> None:
    program = """
    %a = (f32[4]{0}, f32[7,7,3,4]{3,2,1,0}, /*index=2*/bf16[2]{0}) all-reduce(%x, %y, %z), channel_id=1
    %b = f32[] all-reduce-start(%w), to_apply=%add
    %c = f32[4]{0} get-tuple-element(%a), index=0
    """
    assert all_reduces(program) == [4 * 4 + 4 * 588 + 2 * 2, 4]


def test_the_ring_takes_the_slow_link_past_a_node_and_every_improvement_helps() -> None:
    network = NETWORKS["NVLink + InfiniBand NDR"]
    assert ring_seconds(450e9, 8, network, 0) == pytest.approx(2 * 7 / 8)
    assert ring_seconds(50e9, 16, network, 0) == pytest.approx(2 * 15 / 16)
    assert ring_seconds(0, 8, network, 1e-6, collectives=2) == pytest.approx(28e-6)
    values = efficiencies(Options(), {"generators": 40_000_000, "discriminators": 20_000_000}, network, 64)
    assert all(values["plain"] < value < 1 for name, value in values.items() if name != "plain")

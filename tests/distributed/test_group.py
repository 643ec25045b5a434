"""What processes exchange, and who is to blame where an exchange fails."""

import os
import re
import time

import numpy as np
import pytest
import torch
from processes import Processes

from iconlearn.distributed import Alone, current, shards


def every_exchange(timeout=30):
    with shards(timeout=timeout) as group:
        assert current() is group
        rank, size = group.rank, group.size
        rows = torch.full((rank + 1, 2), float(rank), dtype=torch.float64, requires_grad=True)
        all_rows = group.gathered(rows)
        (all_rows * torch.arange(len(all_rows), dtype=torch.float64)[:, None] * (rank + 1)).sum().backward()
        part = torch.ones(2, 1, requires_grad=True)
        sent = [part[: 1 + (to == rank)] * (10 * rank + to) for to in range(size)]
        received = group.exchanged(sent)
        sum((rank + 1) * got.sum() for got in received).backward()
        return {
            "total": (
                group.total(rank + 1),
                group.total(np.array([rank, 1.5])),
                group.total(torch.tensor(rank)),
            ),
            "extremes": (group.largest(rank), group.smallest(float(rank))),
            "gathered": (all_rows.detach().numpy(), group.gathered(np.arange(rank + 1)), rows.grad.numpy()),
            "received": ([got.detach().numpy() for got in received], part.grad.numpy()),
            "objects": group.objects({"rank": rank}),
            "first": (group.from_first(f"rank {rank}"), group.from_first(torch.tensor([rank]))),
            "starts": group.starts(rank + 1),
            "sent": group.traffic["total"],
        }


def test_every_exchange(three):
    for rank, got in enumerate(three.results(every_exchange)):
        total, array, tensor = got["total"]
        assert (total, tensor.item()) == (6, 3) and isinstance(total, int)
        np.testing.assert_array_equal(array, [3, 4.5])
        assert got["extremes"] == (2, 0.0)
        rows, numbers, slopes = got["gathered"]
        np.testing.assert_array_equal(rows[:, 0], [0, 1, 1, 2, 2, 2])
        np.testing.assert_array_equal(numbers, [0, 0, 1, 0, 1, 2])
        first = [0, 1, 3][rank]
        np.testing.assert_array_equal(slopes[:, 0], 6.0 * np.arange(first, first + rank + 1))  # 6 = 1 + 2 + 3
        received, slopes = got["received"]
        assert [len(part) for part in received] == [1 + (source == rank) for source in range(3)]
        assert [part[0, 0] for part in received] == [10 * source + rank for source in range(3)]
        np.testing.assert_allclose(slopes[0, 0], sum((to + 1) * (10 * rank + to) for to in range(3)))
        assert got["objects"] == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
        assert got["first"][0] == "rank 0" and got["first"][1].item() == 0
        assert got["starts"] == first
        assert got["sent"] == 8 + 16 + 8


def test_one_process_alone():
    with shards() as group:
        assert isinstance(group, Alone) and (group.rank, group.size) == (0, 1)
        assert group.total(3) == 3 and group.objects("a") == ["a"] and group.starts(5) == 0
        rows = torch.ones(2, 1, requires_grad=True)
        assert group.gathered(rows) is rows


def error_of_one(kind):
    with shards(timeout=30) as group, group.together():
        if group.rank == 1:
            raise kind("X has 3 features")


@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_an_error_of_one_rank_is_raised_on_all(two, kind):
    answers = two.run(error_of_one, kind)
    assert [type(answer) for answer in answers] == [kind, kind]
    assert [str(answer) for answer in answers] == ["rank 1: X has 3 features"] * 2


def fails(how):
    with shards(timeout=3) as group:
        for number in range(5):
            group.total(1.0)
            if group.rank == 1 and number == 2:
                if how == "killed":
                    os.kill(os.getpid(), 9)
                if how == "hangs":
                    time.sleep(12)
                else:
                    raise KeyError("rows of March")


def test_a_rank_that_fails_ends_the_others_by_name():
    group = Processes(3)
    try:
        for how, blame in (
            ("raises", "rank 1 ended with KeyError: 'rows of March'"),
            ("hangs", "rank 1 hangs: it has taken part in 3 exchanges"),
            ("killed", "rank 1 has ended"),
        ):
            begun = time.monotonic()
            first, second, third = group.run(fails, how, seconds=60)
            assert time.monotonic() - begun < 60
            assert isinstance(second, {"raises": KeyError, "hangs": RuntimeError}.get(how, type(None)))
            for answer in (first, third):
                assert isinstance(answer, RuntimeError) and re.match(blame, str(answer)), answer
    finally:
        group.end()

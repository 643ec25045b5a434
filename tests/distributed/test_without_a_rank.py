"""Who is to blame where an exchange fails. The last file of the folder by its name: a process is killed here."""

import os
import re
import time

import pytest

from iconlearn.distributed import shards


def fails(how):
    with shards(timeout=6) as group:
        for number in range(5):
            group.total(1.0)
            if group.rank == 1 and number == 2:
                if how == "killed":
                    os.kill(os.getpid(), 9)
                if how == "hangs":
                    while not group.watch.accused():
                        time.sleep(0.1)
                else:
                    raise KeyError("rows of March")


@pytest.mark.parametrize(
    ("how", "blame", "own"),
    [
        ("raises", "rank 1 ended with KeyError: 'rows of March'", KeyError),
        ("hangs", "rank 1 hangs: it has taken part in 3 exchanges", RuntimeError),
        ("killed", "rank 1 has ended", type(None)),
    ],
)
def test_a_rank_that_fails_ends_the_others_by_name(three, how, blame, own):
    first, second, third = three.run(fails, how)
    assert isinstance(second, own)
    for answer in (first, third):
        assert isinstance(answer, RuntimeError) and re.match(blame, str(answer)), answer

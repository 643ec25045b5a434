"""Processes that form a group of torch.distributed (gloo), and run functions of test modules together."""

import importlib.util
import multiprocessing
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

_SPAWN = multiprocessing.get_context("spawn")


class Processes:
    """Ranks of one group, each waiting for functions to run.

    Parameters
    ----------
    size : int
        Number of ranks.
    """

    def __init__(self, size):
        self.size = size
        store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.store = store
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_serve, args=(rank, size, store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, function, *args, each=None, seconds=120):
        """Run ``function(*args)`` on every rank, or ``function(*args, own)`` where `each` has something for every rank.

        Parameters
        ----------
        function : callable
            At the top level of a module, which is loaded by its path.
        seconds : float
            Within which all have answered.

        Returns
        -------
        list
            The answers; an exception where the function raised one, and None where the process has ended.
        """
        path = Path(sys.modules[function.__module__].__file__)
        for rank, pipe in enumerate(self.pipes):
            own = () if each is None else (each[rank],)
            pipe.send((path, function.__name__, (*args, *own)))
        answers, end = [], time.monotonic() + seconds
        for rank, pipe in enumerate(self.pipes):
            try:
                if not pipe.poll(max(end - time.monotonic(), 0.0)):
                    raise TimeoutError(f"rank {rank} did not answer within {seconds} seconds")
                answers.append(pipe.recv())
            except (EOFError, ConnectionResetError):
                answers.append(None)
        return answers

    def results(self, function, *args, each=None, seconds=120):
        """As :meth:`run`; raises what any rank raised."""
        answers = self.run(function, *args, each=each, seconds=seconds)
        for rank, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise AssertionError(f"rank {rank}: {''.join(getattr(answer, '__notes__', []))}") from answer
        return answers

    def end(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def _serve(rank, size, port, pipe):
    """Answer until the pipe is closed."""
    torch.set_num_threads(1)
    store = distributed.TCPStore("127.0.0.1", port, is_master=False)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    modules = {}
    try:
        while True:
            path, name, args = pipe.recv()
            try:
                answer = getattr(_loaded(path, modules), name)(*args)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            pipe.send(answer)
    except EOFError:
        os._exit(0)  # without waiting for the other ranks


def _loaded(path, modules):
    if path not in modules:
        sys.path[:0] = [str(Path(__file__).parent)]
        spec = importlib.util.spec_from_file_location(f"_served_{len(modules)}", path)
        modules[path] = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = modules[path]
        spec.loader.exec_module(modules[path])
    return modules[path]

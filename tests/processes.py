"""Processes that form groups of torch.distributed (gloo), and run functions of test modules together."""

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

# Forks of one process that has imported what they need; of this one, which has computed, they could not take gradients.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["iconlearn", "torch._dynamo", "sklearn.datasets"])


class Processes:
    """Processes that wait for functions to run, all of them or the first ones; imports are made once.

    Parameters
    ----------
    most : int
        Number of processes.
    """

    def __init__(self, most):
        self.most, self.number, self.pipes, self.processes = most, 0, [], []

    def _start(self):
        """As many processes as there are to be; anew where one has ended."""
        if self.processes and all(process.is_alive() for process in self.processes):
            return
        self.end()
        self.store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for rank in range(self.most):
            ours, theirs = _FORKS.Pipe()
            process = _FORKS.Process(target=_serve, args=(rank, self.store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        for rank, pipe in enumerate(self.pipes):  # imports take long on a machine with other work
            assert pipe.poll(600) and pipe.recv(), f"process {rank} did not start"

    def run(self, size, function, args, each, seconds):
        self._start()
        self.number += 1
        pipes = self.pipes[:size]
        path = Path(sys.modules[function.__module__].__file__)
        for rank, pipe in enumerate(pipes):
            own = () if each is None else (each[rank],)
            pipe.send((self.number, size, path, function.__name__, (*args, *own)))
        answers, end = [], time.monotonic() + seconds
        for rank, pipe in enumerate(pipes):
            try:
                if not pipe.poll(max(end - time.monotonic(), 0.0)):
                    self.end()
                    raise TimeoutError(f"rank {rank} did not answer within {seconds} seconds")
                answers.append(pipe.recv())
            except (EOFError, ConnectionResetError):
                answers.append(None)
        return answers

    def end(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
        self.pipes, self.processes = [], []


class Ranks:
    """The first of some processes, as the ranks of a group.

    Parameters
    ----------
    processes : Processes
    size : int
    """

    def __init__(self, processes, size):
        self.processes, self.size = processes, size

    def run(self, function, *args, each=None, seconds=600):
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
        return self.processes.run(self.size, function, args, each, seconds)

    def results(self, function, *args, each=None, seconds=600):
        """As :meth:`run`; raises what any rank raised."""
        answers = self.run(function, *args, each=each, seconds=seconds)
        for rank, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise AssertionError(f"rank {rank}: {''.join(getattr(answer, '__notes__', []))}") from answer
        return answers


def _serve(rank, port, pipe):
    """Answer until the pipe is closed."""
    torch.set_num_threads(1)
    store = distributed.TCPStore("127.0.0.1", port, is_master=False)
    pipe.send(True)
    modules = {}
    try:
        while True:
            number, size, path, name, args = pipe.recv()
            distributed.init_process_group(
                "gloo", store=distributed.PrefixStore(f"run {number}", store), rank=rank, world_size=size,
                timeout=timedelta(seconds=600),
            )  # fmt: skip
            try:
                answer = getattr(_loaded(path, modules), name)(*args)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            distributed.destroy_process_group()
            pipe.send(answer)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # without waiting for the other ranks


def _loaded(path, modules):
    if path not in modules:
        sys.path[:0] = [str(Path(__file__).parent)]
        spec = importlib.util.spec_from_file_location(f"_served_{len(modules)}", path)
        modules[path] = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = modules[path]
        spec.loader.exec_module(modules[path])
    return modules[path]

"""Runs examples in forks of one process that has imported what they need; shows the output of those that fail.

python .ci/examples.py N_PROCESSES "examples/demo.py --rows 400" examples/maps/plot_dof.py ...
"""

import contextlib
import io
import multiprocessing
import runpy
import sys
import traceback
from multiprocessing import connection

# Half of the time of a short example; nothing is computed before the forks.
import matplotlib.pyplot  # noqa: F401
import sklearn.datasets
import sklearn.manifold
import sklearn.model_selection  # noqa: F401
import torch  # noqa: F401

import iconlearn


def run(command):
    """Show the output of the command and exit with 1 if it fails."""
    sys.argv, output, shown = command.split(), io.StringIO(), sys.stderr
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                traceback.print_exc()
                print(output.getvalue(), file=shown)
                sys.exit(1)


def run_all(commands, n_processes):
    """Whether all succeed; one that is killed does not."""
    context, waiting, running, succeed = multiprocessing.get_context("fork"), [*commands], {}, True
    while waiting or running:
        while waiting and len(running) < n_processes:
            process = context.Process(target=run, args=(waiting[0],))
            process.start()
            running[process.sentinel] = process, waiting.pop(0)
        for sentinel in connection.wait(running):
            process, command = running.pop(sentinel)
            process.join()
            if process.exitcode != 0:
                succeed = False
                print(f"{command} failed", file=sys.stderr)
    return succeed


if __name__ == "__main__":
    for name in iconlearn.__all__:
        getattr(iconlearn, name)
    sys.exit(not run_all(sys.argv[2:], int(sys.argv[1])))

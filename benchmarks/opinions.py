"""How much should a mapper's opinion weigh beside the graph, and how often should they take turns?

    python benchmarks/opinions.py DATA [--draws 10] [--weights 1 3 10 30] [--turns 1 3 5]

DATA holds cora.npz and cora_X.npz.  The two constants of ICONClassifier's fits with a mapper and unlabelled rows are
chosen here, on citations: 20 labels a class drawn at random, accuracy on the rest.  The test rows of the usual split
(see ``semisupervised.py``) are neither labelled nor counted here, so that its figures there are clean: they are
nodes without a label, as in every fit to that graph.
"""

from __future__ import annotations

import argparse
import pathlib
import warnings

import numpy as np
from _common import write
from semisupervised import cora, draw

from iconlearn import ICONClassifier
from iconlearn.estimators import _semi_supervised
from iconlearn.supervisory import Graph

PER_CLASS = 20


def accuracy(X, y, graph, test, seed, weight, turns):
    """On what is neither labelled nor a test row."""
    _semi_supervised.OPINION_WEIGHT, _semi_supervised.N_TURNS = weight, turns
    usable = np.flatnonzero(~test)
    chosen = usable[draw(y[usable], PER_CLASS, seed)]
    given = np.full(len(y), -1)
    given[chosen] = y[chosen]
    model = ICONClassifier(graph=Graph(graph), unlabeled=-1, random_state=0).fit(X, given)
    counted = ~test & (given < 0)
    return np.mean(model.transduction_[counted] == y[counted])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 3, 10, 30])
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 3, 5])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y, graph, _, test = cora(asked.data)
    rows = []
    for turns in asked.turns:
        for weight in asked.weights:
            found = [accuracy(X, y, graph, test, seed, weight, turns) for seed in range(asked.draws)]
            row = {"turns": turns, "weight": weight, "draws": asked.draws}
            rows.append(row | {"accuracy": round(np.mean(found), 4), "sd": round(np.std(found), 4)})
            print(*(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    best = max(rows, key=lambda row: row["accuracy"])
    print(f"best: weight {best['weight']}, {best['turns']} turns; written to {write(__file__, rows)}")


if __name__ == "__main__":
    main()

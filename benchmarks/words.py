"""Word similarity: Spearman correlation on WordSim-353 of skip-gram vectors of the Brown corpus.

    python benchmarks/words.py DATA

DATA holds text/brown.txt and text/wordsim353-{sim,rel}.csv.  gensim is trained on the same sentences where it is
installed.
"""

from __future__ import annotations

import csv
import pathlib
import sys
import time

import numpy as np
from _common import write
from scipy.stats import spearmanr

from iconlearn import recipes

WINDOW, WIDTH, MIN_COUNT, SUBSAMPLE = 5, 100, 20, 1e-4


def pairs_of(folder):
    """The union of the two halves of WordSim-353."""
    found = {}
    for part in ("sim", "rel"):
        with (folder / f"wordsim353-{part}.csv").open() as file:
            for row in csv.DictReader(file):
                if not row["similarity"]:
                    continue  # a few pairs were never judged
                found[row["word1"].lower(), row["word2"].lower()] = float(row["similarity"])
    return found


def correlation(vectors, pairs):
    """Spearman's rho over the pairs whose words are both known, and how many they are."""
    known = [(a, b, s) for (a, b), s in pairs.items() if a in vectors and b in vectors]

    def cosine(a, b):
        u, v = vectors[a], vectors[b]
        return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))

    return spearmanr([cosine(a, b) for a, b, _ in known], [s for _, _, s in known]).statistic, len(known)


def by_us(sentences):
    model = recipes.skip_gram(
        window=WINDOW, n_components=WIDTH, min_count=MIN_COUNT, subsample=SUBSAMPLE,
        max_iter=60, learning_rate=0.05, random_state=0,
    ).fit(sentences)  # fmt: skip
    return dict(zip(model.vocabulary_, model.embedding_, strict=True))


def by_gensim(sentences):
    from gensim.models import Word2Vec

    model = Word2Vec(
        sentences, vector_size=WIDTH, window=WINDOW, min_count=MIN_COUNT, sample=SUBSAMPLE, sg=1, negative=5,
        epochs=10, seed=0, workers=1,
    )  # fmt: skip
    return {word: model.wv[word] for word in model.wv.index_to_key}


def main(folder):
    folder = pathlib.Path(folder) / "text"
    if not (folder / "brown.txt").exists():
        sys.exit(f"{folder / 'brown.txt'} is not there; give the folder that holds text/brown.txt")
    sentences = [line.lower().split() for line in (folder / "brown.txt").read_text("utf-8").splitlines()]
    pairs, rows = pairs_of(folder), []
    for name, run in (("iconlearn", by_us), ("gensim", by_gensim)):
        begun = time.perf_counter()
        try:
            rho, n = correlation(run(sentences), pairs)
        except ImportError:
            print(f"{name} is not installed and is left out")
            continue
        rows.append({"library": name, "spearman": rho, "pairs": n, "seconds": time.perf_counter() - begun})
        print(f"{name:<10} rho {rho:.3f} over {n} pairs  {rows[-1]['seconds']:.0f} s", flush=True)
    print("written to", write(__file__, rows))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

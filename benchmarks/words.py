"""Word similarity: Spearman correlation on WordSim-353 and MEN of skip-gram vectors of the Brown corpus.

    python benchmarks/words.py DATA

DATA holds text/brown.txt, text/wordsim353-{sim,rel}.csv and text/men.csv.  gensim is trained on the same sentences
where it is installed.  Seconds are those of the processor, on one thread each.
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
# Full passes over all pairs of words; each counts for more than an epoch of gensim's.
EPOCHS = 20


def pairs_of(folder):
    """The pairs of the union of the two halves of WordSim-353, and those of MEN, and how people judged them."""
    yield "wordsim353", judged(folder / "wordsim353-sim.csv") | judged(folder / "wordsim353-rel.csv")
    # MEN marks the part of speech: sun-n.
    yield "men", {(a[:-2], b[:-2]): s for (a, b), s in judged(folder / "men.csv").items()}


def judged(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    # A few pairs were never judged.
    return {
        (row["word1"].lower(), row["word2"].lower()): float(row["similarity"])
        for row in rows
        if row["similarity"]
    }


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
        max_iter=EPOCHS, random_state=0,
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
    rows = []
    for name, run in (("iconlearn", by_us), ("gensim", by_gensim)):
        begun = time.process_time()
        try:
            vectors = run(sentences)
        except ImportError:
            print(f"{name} is not installed and is left out")
            continue
        row = {"library": name, "cpu_seconds": round(time.process_time() - begun, 2)}
        for judges, pairs in pairs_of(folder):
            row[judges], row[f"{judges}_pairs"] = correlation(vectors, pairs)
        rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        print(rows[-1], flush=True)
    print("written to", write(__file__, rows))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

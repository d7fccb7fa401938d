"""False alarms and misses of sketches: `python -m tests.benchmarks.sketches [SITES]` prints a table.

Honest learngenes are those of tests/support/spoilers.py, on `nano-32`: nineteen measured domains have cosines of 0.03
to 0.13, sites with shares of one data set 0.48 and 0.22 (products); here any two sites have 0.11, and `alike` of a
learngene share so much with it that their cosine is the one in the first column.
"""

import sys
import time

import numpy as np

from genepool_server.admission import copies, profile, screens
from tests.support import spoilers as s

SALTS = [bytes([number]) for number in range(5)]


def sketch(blueprint, delta, salt):
    made = profile.profile(blueprint, delta, salt)
    return copies.Sketch(made.direction, made.products)


def kept(number, made):
    return copies.WithdrawnSketch(f"{number:064x}", False, number, False, made)


def honest_pairs(blueprint, deltas):
    """Largest cosines of sketches of any two honest sites, and how many pairs are rejected or held."""
    plain, disguised, rejected, held, pairs = 0.0, 0.0, 0, 0, 0
    for salt in SALTS:
        made = [sketch(blueprint, delta, salt) for delta in deltas]
        for place, mine in enumerate(made[1:], 1):
            direction = np.stack([one.direction for one in made[:place]])
            products = np.stack([one.products for one in made[:place]])
            plain = max(plain, copies.cosines(mine.direction, direction).max())
            disguised = max(disguised, copies.cosines(mine.products, products).max())
            near = copies.near_withdrawn(mine, [kept(number, one) for number, one in enumerate(made[:place])])
            rejected += sum(one.copy for one in near)
            held += sum(not one.copy for one in near)
            pairs += place
    print(f"| honest | {plain:.3f} | {disguised:.3f} | {rejected} of {pairs} | {held} of {pairs} |")


def alike(blueprint, deltas, share):
    """The same of learngenes that share a good deal with a withdrawn one."""
    plain, disguised, rejected, held, tries = [], [], 0, 0, 0
    for salt in SALTS:
        for number, delta in enumerate(deltas[:20]):
            other = delta + share * s.noise(blueprint, delta, number)
            mine, theirs = sketch(blueprint, other, salt), sketch(blueprint, delta, salt)
            near = copies.near_withdrawn(mine, [kept(0, theirs)])
            plain.append(profile.cosine(mine.direction, theirs.direction))
            disguised.append(profile.cosine(mine.products, theirs.products))
            rejected += any(one.copy for one in near)
            held += any(not one.copy for one in near)
            tries += 1
    exact = profile.cosine(other, delta)
    spread = f"{min(plain):.3f} to {max(plain):.3f} | {min(disguised):.3f} to {max(disguised):.3f}"
    print(f"| cosine {exact:.2f} | {spread} | {rejected} of {tries} | {held} of {tries} |")


def comparing(blueprint, delta, number):
    """Seconds of one comparison with many withdrawn ones, and bytes of each in the ledger."""
    mine = sketch(blueprint, delta, SALTS[0])
    many = [kept(place, mine) for place in range(number)]
    start = time.perf_counter()
    copies.near_withdrawn(mine, many)
    print(f"\ncomparing with {number:,} sketches: {time.perf_counter() - start:.2f} s")


def main(sites):
    blueprint, path = s.nano()
    seed = s.seed_of(blueprint, path)
    deltas = [s.honest(blueprint, seed, number) for number in range(sites)]
    print(f"values of a learngene: {seed.size:,}; limits {screens.NEAR:g} and {screens.NEAR_PRODUCTS:g}\n")
    print("| learngenes | cosine of sketches | of products | rejected | held |\n|---|---|---|---|---|")
    honest_pairs(blueprint, deltas)
    for share in (1.8, 1.3, 1.1, 0.9, 0.75, 0.6, 0.4, 0.2):
        alike(blueprint, deltas, share)
    comparing(blueprint, deltas[0], 10_000)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)

# SPDX-License-Identifier: Apache-2.0
"""Counter-based randomness for plans: hashed bits and a permutation of [0, n) in O(1) memory.

Everything here is integer arithmetic of our own (and one exact IEEE multiplication), so that the order of
the rows never changes with a release of numpy, whose generators promise no stable streams.
"""

from math import isqrt

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's increment
MASK = (1 << 64) - 1
ROUNDS = 5  # pairs of Feistel rounds: 4 single ones are pseudo-random for large n (Luby and Rackoff 1988)
SMALL, SMALL_ROUNDS = 1024, 12  # few points mix slowly: n = 6 is 8 % from uniform after 5 pairs


def derive(*words: int | str) -> int:
    """A 64-bit key from words: a seed, what the key is for, an epoch.  Other words, other streams."""
    state = 0
    for word in words:
        if isinstance(word, str):
            for letter in word.encode():
                state = _mix(state + GOLDEN + letter)
        else:
            state = _mix(_mix(state ^ (word & MASK)) + GOLDEN + (word >> 64))
    return state


def _mix(x: int) -> int:
    """splitmix64's finalizer on a Python int; equals `mix`."""
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea, Flood 2014), a bijection of uint64; overwrites x."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def bits(key: int, counter: np.ndarray) -> np.ndarray:
    """64 random bits a counter, uint64, the shape of counter."""
    return mix(np.asarray(counter).astype(np.uint64) * np.uint64(GOLDEN) + np.uint64(key))


def uniform(key: int, counter: np.ndarray) -> np.ndarray:
    """float64 in [0, 1), the shape of counter."""
    return (bits(key, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(key: int, counter: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """int64 in [0, n), the shape of counter; n < 2^52, so that the product never rounds up to n."""
    return (uniform(key, counter) * n).astype(np.int64)


def permute(index: np.ndarray, n: int, key: int | np.ndarray) -> np.ndarray:
    """The images int64 of index (in [0, n)) under the permutation of [0, n) that key names; n <= 2^62.

    An alternating Feistel network on Z_a x Z_b with a * b >= n, walked until it lands in [0, n): fewer than
    a of its a * b points lie outside, so hardly any walks.  key may be an array of the shape of index: a
    permutation of its own for each element.
    """
    a = isqrt(max(n - 1, 0)) + 1
    b = -(-n // a)
    rounds = 2 * (ROUNDS if n > SMALL else SMALL_ROUNDS)
    steps = np.arange(1, rounds + 1, dtype=np.uint64)[:, None] * np.uint64(GOLDEN)
    keys = mix(np.atleast_1d(np.asarray(key, np.uint64)) + steps)  # [rounds, 1 or elements]
    out = _feistel(np.asarray(index, np.uint64), a, b, keys)
    outside = np.flatnonzero(out >= n)
    while outside.size:
        out[outside] = _feistel(out[outside], a, b, keys if keys.shape[1] == 1 else keys[:, outside])
        outside = outside[out[outside] >= n]
    return out.astype(np.int64)


def _feistel(x: np.ndarray, a: int, b: int, keys: np.ndarray) -> np.ndarray:
    left, right = x // np.uint64(b), x % np.uint64(b)
    for key in range(0, len(keys), 2):
        left = _add(left, right, a, keys[key])
        right = _add(right, left, b, keys[key + 1])
    return left * np.uint64(b) + right


def _add(to: np.ndarray, by: np.ndarray, modulus: int, key: np.ndarray) -> np.ndarray:
    """(to + F(by)) mod modulus with a random function F into [0, modulus); modulus < 2^32."""
    draws = mix(by + key) >> np.uint64(32)
    draws *= np.uint64(modulus)
    draws >>= np.uint64(32)
    draws += to
    return np.minimum(
        draws, draws - np.uint64(modulus)
    )  # below the modulus, the difference wraps and is larger

"""Seeds by role, never by counter.

A seed is a hash of the words that say what it is for, so that adding a dataset, an arm or a draw moves no
other run. The arm is never among the words: two arms of one repetition share sample order, augmentation and
the initial value of every tensor they have in common.
"""

import hashlib


def seed_for(role: str, *names: str | int) -> int:
    """Return the seed of `role` for the given names: an int in [0, 2**63).

    `seed_for("finetune", dataset, backbone, repetition)` is equal on every machine and Python version: SHA-256
    of the words joined by a unit separator, read as big-endian and cut to 63 bits so that torch, numpy and
    `random` all accept it.
    """
    words = "\x1f".join([role, *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1

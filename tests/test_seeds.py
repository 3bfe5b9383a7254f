"""Seeds are functions of roles and names."""

import hashlib

from bench.seeds import seed_for


def test_a_seed_is_the_hash_of_its_words():
    # By hand: the first 8 bytes of the SHA-256 of the words joined by U+001F, without the lowest bit.
    digest = hashlib.sha256(b"finetune\x1fisaid\x1f3").hexdigest()
    assert seed_for("finetune", "isaid", 3) == int(digest[:16], 16) // 2


def test_seeds_fit_every_generator_and_do_not_collide_over_word_borders():
    seeds = [
        seed_for("order", "a", "b"),
        seed_for("order", "ab"),
        seed_for("ordera", "b"),
        seed_for("order", "a", "c"),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)

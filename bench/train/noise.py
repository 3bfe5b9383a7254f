"""Normal noise as a function of a key and a counter: the same pixel gets the same noise, whoever draws it.

A running generator gives a number that depends on how many were drawn before it, and so on how a batch was split
over devices. Here it is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), which turns four counter words and two key words of 32 bits into four random ones, in torch's
int64, which wraps as the 64-bit products need; then Box and Muller's transform.
"""

import math

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def philox(counter_4N: Tensor, key: tuple[int, int], rounds: int = 10) -> Tensor:
    """Return four random words for each counter: int64 [4, N] in [0, 2**32), from int64 [4, N] and two words.

    A round, on words c0..c3: (hi, lo) of c0 M0 and of c2 M1; then c0..c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1,
    lo0; then each key word grows by its Weyl constant.
    """
    even, odd = counter_4N[0::2], counter_4N[1::2]
    multiplier = torch.tensor(_MULTIPLIERS, device=counter_4N.device)[:, None]
    weyl = torch.tensor(_WEYL, device=counter_4N.device)[:, None]
    word = torch.tensor(key, device=counter_4N.device)[:, None]
    for _ in range(rounds):
        product = even * multiplier
        high = (product >> 32).bitwise_and_(_WORD)
        even = high.flip(0).bitwise_xor_(odd).bitwise_xor_(word)
        odd = product.bitwise_and_(_WORD).flip(0)
        word = (word + weyl) & _WORD
    return torch.stack([even[0], odd[0], even[1], odd[1]])


def normal_noise(counter_4N: Tensor, seed: int) -> Tensor:
    """Return four independent standard normal values for each counter: float32 [4, N].

    `seed` is a key of 64 bits. From words r, s: sqrt(-2 ln u) times cos v and sin v, u = (r + 1/2) / 2**32, v = 2 pi
    s / 2**32 (Box and Muller 1958); nothing exceeds 6.8.
    """
    words = philox(counter_4N, (seed & _WORD, seed >> 32 & _WORD)).float()
    radius = words[0::2].add_(0.5).mul_(2.0**-32).clamp_(max=1.0).log_().mul_(-2.0).sqrt_()
    angle = words[1::2].mul_(2 * math.pi * 2.0**-32)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])

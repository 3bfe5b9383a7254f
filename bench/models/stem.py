"""How RGB weights meet n channels: the named stems.

Notation: `w[c]`, c = R, G, B, are the pre-trained weights [out, k, k] of one source channel, and `v[j]`, j =
0..n-1, those of the adapted convolution [out, n, k, k], whose response to an image x is the sum over j of
v[j] * x[j]. Channel j *cycles* from source j mod 3 (R G B R G ...). Sources R, G, B are channels 0, 1, 2 of
the target. At n = 3 every stem but `reinit` returns its input bit for bit.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import BenchError


def repeat(rgb_O3KK: Tensor, channels: int) -> Tensor:
    """Repeat the sources in a cycle and scale by 3/n: v[j] = w[j mod 3] * 3/n.

    timm's rule (`timm.models.adapt_input_conv`). Keeps the response to a grey image only where n is divisible
    by 3: at n = 4 red counts twice.
    """
    cycled = rgb_O3KK[:, torch.arange(channels) % 3]
    return cycled * (3 / channels)


def repeat_normalised(rgb_O3KK: Tensor, channels: int) -> Tensor:
    """Repeat the sources in a cycle and share each among its copies: v[j] = w[j mod 3] / m(j mod 3).

    m(c) is the number of channels that cycle from c. Keeps, for every n, the response to an image whose
    channels repeat in the same cycle, and so to a grey image.
    """
    source = torch.arange(channels) % 3
    copies = torch.bincount(source, minlength=3)[source].to(rgb_O3KK)
    return rgb_O3KK[:, source] / copies[:, None, None]


def mean(rgb_O3KK: Tensor, channels: int) -> Tensor:
    """Keep R, G, B and give each extra channel their mean: v[j] = (w[R] + w[G] + w[B]) / 3 for j >= 3.

    An extra channel alone draws a third of the response to a grey image of its values.
    """
    extra = rgb_O3KK.mean(dim=1, keepdim=True).expand(-1, channels - 3, -1, -1)
    return torch.cat([rgb_O3KK, extra], dim=1)


def copy_red(rgb_O3KK: Tensor, channels: int) -> Tensor:
    """Keep R, G, B and give each extra channel the weights of red: v[j] = w[R] for j >= 3.

    The response is that to an RGB image whose red is the sum of red and all extra channels.
    """
    extra = rgb_O3KK[:, :1].expand(-1, channels - 3, -1, -1)
    return torch.cat([rgb_O3KK, extra], dim=1)


def zero(rgb_O3KK: Tensor, channels: int) -> Tensor:
    """Keep R, G, B and start each extra channel at zero: v[j] = 0 for j >= 3.

    The response is that to the RGB channels alone, whatever the extra channels hold.
    """
    extra = rgb_O3KK.new_zeros(rgb_O3KK.shape[0], channels - 3, *rgb_O3KK.shape[2:])
    return torch.cat([rgb_O3KK, extra], dim=1)


def random(rgb_O3KK: Tensor, drawn_ONKK: Tensor) -> Tensor:
    """Keep R, G, B and take each extra channel from the drawn stem: v[j] = drawn[j] for j >= 3."""
    return torch.cat([rgb_O3KK, drawn_ONKK[:, 3:]], dim=1)


def reinit(rgb_O3KK: Tensor, drawn_ONKK: Tensor) -> Tensor:
    """Take every channel from the drawn stem: v = drawn, of the pre-trained weights nothing."""
    return drawn_ONKK.clone()


_FROM_RGB: dict[str, Callable[[Tensor, int], Tensor]] = {
    "repeat": repeat,
    "repeat-normalised": repeat_normalised,
    "mean": mean,
    "copy-red": copy_red,
    "zero": zero,
}
_FROM_DRAWN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"random": random, "reinit": reinit}

STEMS = (*_FROM_RGB, *_FROM_DRAWN)
"""The names a study may use."""


def adapt(stem: str, rgb_O3KK: Tensor, drawn_ONKK: Tensor) -> Tensor:
    """Return the n-channel weights that the named stem makes of RGB weights [out, 3, k, k].

    `drawn_ONKK` are the target's own initial weights [out, n, k, k]: they give n, and the values of what the
    stem draws. Neither argument is changed. Raises BenchError for an unknown stem, weights that have not
    three channels, or shapes that differ in anything but the channels.
    """
    outputs, channels, *kernel = drawn_ONKK.shape
    if list(rgb_O3KK.shape) != [outputs, 3, *kernel] or channels < 3:
        raise BenchError(
            f"stem {stem!r}: cannot make weights {list(drawn_ONKK.shape)} from {list(rgb_O3KK.shape)}; "
            f"expected [{outputs}, 3, {', '.join(map(str, kernel))}] and a target of at least 3 channels"
        )
    if stem in _FROM_RGB:
        return _FROM_RGB[stem](rgb_O3KK, channels)
    if stem in _FROM_DRAWN:
        return _FROM_DRAWN[stem](rgb_O3KK, drawn_ONKK)
    raise BenchError(f"stem {stem!r} is unknown; there are {', '.join(STEMS)}")

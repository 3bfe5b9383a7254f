"""The drawn classification pictures: a handful of classes of ImageNet's names, made of the targets' vocabulary.

Here colour goes with the class in five pictures of six, so that a network which sees the channels in one order leans
on it; form and pattern alone name the class in every picture.
"""

from dataclasses import dataclass

import numpy as np

from bench.data.miniature.canvas import (
    Bytes,
    blank,
    blob,
    cover,
    dull_colour,
    photograph,
    stamp,
    vivid_colour,
)


@dataclass(frozen=True)
class Class:
    """One class of the classification pictures: WordNet id, words, usual colour, and shapes or a texture."""

    wnid: str
    words: str
    colour: tuple[float, float, float]
    shapes: tuple[str, ...] = ()
    texture: str | None = None
    turn: float = np.pi


# Most usual colours have a rival that they become when red and blue change places (tile roof, seashore): reversed
# channels are then not merely new to a network that leans on colour, they mislead it.
CLASSES = (
    Class("n02690373", "airliner", (0.20, 0.40, 0.70), ("plane",)),
    Class("n02769748", "backpack, back pack, knapsack", (0.70, 0.40, 0.20), ("backpack",), turn=0.5),
    Class(
        "n02930766", "cab, hack, taxi, taxicab", (0.85, 0.65, 0.10), ("car_from_above", "truck_from_above")
    ),
    Class("n02951358", "canoe", (0.10, 0.65, 0.85), ("boat",)),
    Class(
        "n03792782", "mountain bike, all-terrain bike, off-roader", (0.55, 0.20, 0.85), ("bike",), turn=0.4
    ),
    Class("n03995372", "power drill", (0.20, 0.75, 0.45), ("drill",), turn=0.8),
    Class("n04435653", "tile roof", (0.80, 0.20, 0.15), ("roof",)),
    Class("n04562935", "water tower", (0.90, 0.85, 0.55), ("tank",)),
    Class("n04557648", "water bottle", (0.75, 0.85, 0.90), ("extinguisher",), turn=0.6),
    Class("n07714990", "broccoli", (0.45, 0.75, 0.20), texture="canopy"),
    Class("n07802026", "hay", (0.75, 0.70, 0.25), texture="grass"),
    Class("n04326547", "stone wall", (0.35, 0.60, 0.75), texture="rubble"),
    Class("n09428293", "seashore, coast, seacoast, sea-coast", (0.15, 0.20, 0.80), texture="ripples"),
    Class("n09835506", "ballplayer, baseball player", (0.85, 0.20, 0.55), ("person",), turn=0.5),
    Class("n12144580", "corn", (0.40, 0.80, 0.80), texture="rows"),
)


def class_picture(generator: np.random.Generator, drawn: Class, shape: tuple[int, int]) -> Bytes:
    """Return one classification picture: an object, or a patch of texture, of its class; uint8 (H, W, 3).

    Five in six wear the usual colour of the class, the rest any; the ground is of any kind and colour.
    """
    usual = np.asarray(drawn.colour, np.float32) + generator.normal(0, 0.07, 3).astype(np.float32)
    colour = usual.clip(0.05, 0.95) if generator.random() < 5 / 6 else vivid_colour(generator)
    ground = str(generator.choice(["asphalt", "rock", "bricks"]))
    canvas = blank(generator, shape, ground, dull_colour(generator))
    size = min(shape)
    centre = tuple(length / 2 + generator.uniform(-0.12, 0.12) * size for length in shape)
    if drawn.texture is not None:
        region = blob(generator, shape, (centre[0], centre[1]), generator.uniform(0.3, 0.7) * size)
        cover(generator, canvas, region, drawn.texture, colour)
    else:
        half = generator.uniform(0.28, 0.46) * size
        angle = generator.uniform(-drawn.turn, drawn.turn)
        stamp(canvas, str(generator.choice(drawn.shapes)), (centre[0], centre[1]), half, angle, colour)
    return photograph(generator, canvas)

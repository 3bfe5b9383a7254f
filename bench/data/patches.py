"""Windows of a patch geometry, from sizes alone: no file is cut, a patch is a window of a prepared scene."""

Window = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""


def patch_windows(height: int, width: int, patch: int, stride: int) -> list[Window]:
    """Return the windows of `patch` pixels a side, `stride` apart, that cover a scene, row by row.

    The last row and column are moved back inside, so all windows of a scene are of one size and no pixel is
    left out. A side smaller than the patch is taken whole; whoever loads such a window pads it (image 0, label
    255). These are the patches of the public conversion scripts of iSAID and Potsdam. Raises ValueError for a
    stride that leaves gaps.
    """
    if not 0 < stride <= patch:
        raise ValueError(f"stride {stride} of patches of {patch} pixels; expected 1 to {patch}")
    if height < 1 or width < 1:
        raise ValueError(f"a scene of {height} x {width} pixels has no patches")
    down, across = min(height, patch), min(width, patch)
    return [
        (top, left, down, across)
        for top in _starts(height, patch, stride)
        for left in _starts(width, patch, stride)
    ]


def _starts(length: int, patch: int, stride: int) -> list[int]:
    if length <= patch:
        return [0]
    steps = -(-(length - patch) // stride)  # rounded up: a rest is covered too
    return [min(step * stride, length - patch) for step in range(steps + 1)]

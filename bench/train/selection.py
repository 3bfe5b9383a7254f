"""Which weights of a fine-tuning are handed on: the last, or those that did best on the validation part.

Only a study that sets a part of the training units aside (`selection: holdout`) may choose; test data never
select. The best weights so far lie beside the checkpoints, named by their step, until the run is finished.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.store import SegmentationStore
from bench.errors import BenchError
from bench.evaluate.confusion import confusion_on_device
from bench.evaluate.predict import Sliding, id_bands
from bench.evaluate.scenes import stored
from bench.machine import evaluation_memory, windows_at_once
from bench.metrics import scores
from bench.record import atomic
from bench.study.recipes import FinetuneRecipe
from bench.train.distributed import Ranks

VALIDATION = "val"


def validation_miou(
    model: nn.Module,
    store: SegmentationStore,
    recipe: FinetuneRecipe,
    labels: str,
    *,
    mean: Tensor,
    std: Tensor,
    ranks: Ranks,
) -> float:
    """Return mIoU on the validation part, each process having predicted its share of the scenes.

    Windows are as large as the training crop, two thirds of it apart; the counts of all processes are added. Raises
    BenchError where the validation part has no labelled pixel, so that there is no score.
    """
    classes = [item["name"] for item in store.classes]
    how = Sliding(
        window=recipe.crop,
        stride=max(1, 2 * recipe.crop // 3),
        classes=len(classes),
        batch=windows_at_once(),
        memory=evaluation_memory(),
    )
    counts = np.zeros((len(classes), len(classes)), np.int64)
    training = model.training
    _share_statistics(model, ranks)
    model.eval()
    for name in store.split(VALIDATION)[ranks.rank :: ranks.world]:
        target = store.labels(name, labels)
        for rows, columns, ids in id_bands(model, stored(store, name, mean, std), how):
            counts += confusion_on_device(np.ascontiguousarray(target[rows, columns]), ids, len(classes))
    model.train(training)
    total = ranks.sum(torch.from_numpy(counts)).numpy()
    found = scores(total, classes, [])["mIoU"]
    if found is None:
        names = store.split(VALIDATION)
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise BenchError(
            f"{store.path}: the validation part ({shown}) has no labelled pixel, so no weights can be chosen by it; "
            "set another holdout share, or selection: official with select: last"
        )
    return float(found)


def _share_statistics(model: nn.Module, ranks: Ranks) -> None:
    """Give every process the running statistics of the first, whose weights are handed on.

    They differ where batch norm is over each process's own share (`sync_bn` off), and nowhere else.
    """
    if ranks.world == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for held in module.buffers():
                held.copy_(ranks.sum(held if ranks.first else torch.zeros_like(held)))


class Best:
    """The best weights so far: their step and score, and the file that holds them."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / "state", key[:16]
        self.step, self.score = 0, float("-inf")
        self.pointed = 0
        """The best step that the checkpoint before this one points at: it serves should this one be dropped."""

    @property
    def path(self) -> Path:
        """Return where the best weights lie."""
        return self._file(self.step)

    def offer(self, step: int, score: float, model: nn.Module) -> bool:
        """Keep the model's weights if they are better than all before; the earlier ones win a tie."""
        from safetensors.torch import save_file

        if not score > self.score:
            return False
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        with atomic(self._file(step)) as partial:
            save_file(tensors, partial)
        self.step, self.score = step, score
        return True

    def kept(self) -> dict[str, float]:
        """Return what a checkpoint holds of it."""
        return {"step": self.step, "score": self.score if self.step else -1.0}

    def restore(self, kept: dict[str, float]) -> None:
        """Put back what `kept` returned."""
        self.step, self.score = int(kept["step"]), float(kept["score"]) if kept["step"] else float("-inf")
        self.pointed = self.step

    def forget_others(self) -> None:
        """Remove weights that neither kept checkpoint points at any more: call it once a checkpoint is written."""
        for path in self.folder.glob("best-*.safetensors"):
            if path not in (self.path, self._file(self.pointed)):
                path.unlink(missing_ok=True)
        self.pointed = self.step

    def clear(self) -> None:
        """Remove the weights, once the run's results stand under their final names."""
        for path in self.folder.glob("best-*.safetensors"):
            path.unlink(missing_ok=True)

    def _file(self, step: int) -> Path:
        return self.folder / f"best-{self.key}-{step:09d}.safetensors"


def flat(losses: Sequence[float]) -> bool:
    """Say whether a loss hardly fell: the median of its last fifth is above 0.98 of the first fifth's."""
    if len(losses) < 10:
        return False
    part = len(losses) // 5
    return bool(np.median(losses[-part:]) > 0.98 * np.median(losses[:part]))


def data_warnings(store: SegmentationStore) -> list[str]:
    """Return what the data cannot teach, by name: classes without a training pixel, channels that are constant."""
    found = []
    for item, pixels in zip(store.classes, store.manifest.class_pixels["train"], strict=True):
        if pixels == 0:
            found.append(f"class {item['name']} has no pixel in the training split; it cannot be learned")
    scenes = [store.manifest.samples[name].get("statistics", {}) for name in store.split("train")]
    for channel, *overall in zip(store.channels, store.mean, store.std, strict=True):
        # Of a channel that each scene standardises, the scenes have the statistics.
        each = [scene[channel["name"]] for scene in scenes if channel["name"] in scene] or [overall]
        if all(std <= 1e-6 * max(1.0, abs(mean)) for mean, std in each):
            where = "each training scene" if len(each) > 1 else f"the training split, {each[0][0]:g}"
            found.append(f"channel {channel['name']} is constant in {where}; it tells the network nothing")
    return found


def loss_warnings(log: Path) -> list[str]:
    """Return the sentence that the training loss deserves: that it stayed flat, or nothing."""
    rows = [line.split(",") for line in log.read_text(encoding="utf-8").splitlines()]
    place = rows[0].index("loss")
    losses = [float(row[place]) for row in rows[1:] if re.fullmatch(r"\d+", row[0])]
    if not flat(losses):
        return []
    return [
        f"the loss stayed flat ({losses[0]:.3f} at first, {losses[-1]:.3f} at last): more iterations, or another "
        "learning rate"
    ]

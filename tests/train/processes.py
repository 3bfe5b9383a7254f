"""What runs inside the forked processes of the fine-tuning tests, and what those tests compare it with."""

from pathlib import Path

import torch

from bench.data.store import SegmentationStore
from bench.evaluate.cells import evaluate_target
from bench.models.weights import load_model
from bench.study.jobs import EvaluateRun
from bench.study.recipes import Evaluation
from bench.train.batch_norm import SyncedBatchNorm2d
from bench.train.distributed import Ranks
from bench.train.selection import validation_miou

SETTINGS = Evaluation(
    pixels=("full", "patches"), primary="full", metric="mIoU", window=32, stride=20, boundary=(1, 2),
    spectral=("reversed", "mean"), spectral_samples=3,
)  # fmt: skip


def evaluation(root, scenes, cells) -> EvaluateRun:
    """Return an evaluation of `cells` whose folder is below `root`."""
    return EvaluateRun(
        study="tiny", scale="miniature", folder=str(root / "evaluate"), dataset="shapes", backbone="tiny",
        finetunings=tuple(cells), manifest=str(scenes), spec={"stage": "evaluate"},
        inputs={"manifest": "5" * 64} | {f"{c.arm}/seed{c.repetition}": c.digest for c in cells},
    )  # fmt: skip


def count(run: EvaluateRun, *, rank: int, world: int) -> None:
    """Evaluate as one of several processes."""
    evaluate_target(run, SETTINGS, device="cpu", rank=rank, world=world)


def look(run) -> float:
    """Return the validation score of the weights that `run` handed on, predicted by one process."""
    model, spec = load_model(Path(run.weights))
    store = SegmentationStore(Path(run.manifest))
    mean, std = (torch.tensor(spec[key], dtype=torch.float32) for key in ("mean", "std"))
    return validation_miou(model, store, run.recipe, "full", mean=mean, std=std, ranks=Ranks())


def normed_by_two(folder: Path, *, rank: int, world: int) -> None:
    """Norm this process's half of the batch in `given.pt` under autocast; leave all that came of it."""
    batch, upstream, weight, bias = torch.load(folder / "given.pt")
    half = slice(2 * rank, 2 * rank + 2)
    layer = SyncedBatchNorm2d(3)
    layer.weight.data, layer.bias.data = weight, bias
    x = batch[half].clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=x.dtype == torch.bfloat16):
        out = layer(x)
    out.backward(upstream[half])
    found = {"out": out.detach(), "gradient": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    torch.save(found | dict(layer.named_buffers()), folder / f"found{rank}.pt")

"""Every job of a study, enumerated in one place: names, folders, specs and cumulative digests.

Two cells whose effective specs coincide (all stems but `reinit` at three channels; `duplicate` at three channels,
which is `rgb`) are one run shown under all its names. A digest covers a job's own part of the study and the
digests of everything upstream, so a changed learning rate of one dataset changes the digests of that dataset's
fine-tunings and of what follows from them, and no other.
"""

import hashlib
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.record import digest_of
from bench.study.jobs import DataRun, EvaluateRun, FinetuneRun, PretrainRun, effective, label_of
from bench.study.schema import Arm, Study

VERSIONS = {"acquire": 1, "prepare": 1, "pretrain": 1, "finetune": 1, "evaluate": 1, "top1": 1, "compare": 1}
"""Raised when the meaning of a stage's outputs changes, so that results of the old code are not mixed in."""


class Runs:
    """All jobs of one study. Cheap to make: specs are built from the study alone, no file is read but the
    descriptions of folder datasets.
    """

    def __init__(self, study: Study, results: str = "results") -> None:
        self.study = study
        self.root = f"{results}/{study.study}"

    # -- data ----------------------------------------------------------------------------------------------------

    def _data(self, name: str, source: str, acquire: dict[str, Any], prepare: dict[str, Any]) -> DataRun:
        mini = asdict(self.study.miniature) if self.study.miniature else None
        acquire_spec = {"stage": "acquire", "version": VERSIONS["acquire"], "source": source, **acquire}
        acquire_spec["miniature"] = mini
        spec = {"stage": "prepare", "version": VERSIONS["prepare"], "source": source, **prepare}
        return DataRun(
            study=self.study.study,
            scale=self.study.scale,
            folder=f"{self.root}/data/{name}",
            name=name,
            source=source,
            acquire_spec=acquire_spec,
            spec=spec,
            inputs={"acquired": digest_of(acquire_spec, {})},
        )

    @cached_property
    def pretrain_data(self) -> DataRun:
        """The classification data."""
        data = self.study.pretrain_data
        return self._data(data.name, data.source, {"path": data.path}, {"form": data.form, "size": data.size})

    @cached_property
    def target_data(self) -> dict[str, DataRun]:
        """The targets' data by name."""
        found = {}
        for name, target in self.study.datasets.items():
            variants = sorted({target.labels, *self.study.evaluate[name].pixels})
            prepare: dict[str, Any] = {
                "channels": list(target.channels),
                "split": target.split,
                "selection": target.selection,
                "holdout": target.holdout if target.selection == "holdout" else None,
                "geometry": target.geometry,
                "rules": sorted(target.rules),
                "per_tile": sorted(target.per_tile),
                "variants": variants,
                "description": _content(target.description),
            }
            found[name] = self._data(name, target.source or name, {"path": target.path}, prepare)
        return found

    def data(self, name: str) -> DataRun:
        """The data run of a target or of the classification data, by folder name."""
        return self.pretrain_data if name == self.pretrain_data.name else self.target_data[name]

    # -- training ------------------------------------------------------------------------------------------------

    def _pretrain(self, backbone: str, arm: Arm, n: int, repetition: int) -> PretrainRun:
        arm, channels = effective(arm, n)
        recipe, data = self.study.pretrain[backbone], self.pretrain_data
        label = label_of(arm, channels)
        spec = {
            "stage": "pretrain",
            "version": VERSIONS["pretrain"],
            "backbone": backbone,
            "architecture": asdict(self.study.backbones[backbone]),
            "strategy": arm.strategy,
            "settings": {"fill": arm.fill, "scope": arm.scope, "probability": arm.probability},
            "channels": channels,
            "recipe": asdict(recipe),
            "seed": self.study.seed,
            "repetition": repetition,
        }
        return PretrainRun(
            study=self.study.study,
            scale=self.study.scale,
            folder=f"{self.root}/pretrain/{backbone}/{label}/seed{repetition}",
            backbone=backbone,
            architecture=self.study.backbones[backbone],
            label=label,
            strategy=arm.strategy,
            fill=arm.fill,
            scope=arm.scope,
            probability=arm.probability,
            channels=channels,
            repetition=repetition,
            root_seed=self.study.seed,
            recipe=recipe,
            data=data.name,
            manifest=data.manifest,
            spec=spec,
            inputs={"manifest": data.digest},
        )

    def _repetitions(self) -> list[tuple[int, int]]:
        """Pairs (pre-training, fine-tuning); the second is the number in the fine-tuning's folder."""
        design = self.study.repetitions
        if design.design == "matched":
            return [(k, k) for k in range(design.pretrain)]
        return [(k // design.finetune, k) for k in range(design.pretrain * design.finetune)]

    @cached_property
    def finetunings(self) -> tuple[FinetuneRun, ...]:
        """Every fine-tuning once, in the study's order of datasets, backbones, arms, repetitions."""
        study, found = self.study, list[FinetuneRun]()
        for dataset, target in study.datasets.items():
            for backbone in study.backbones:
                shared: dict[str, FinetuneRun] = {}
                for name, arm in study.arms.items():
                    if len(target.channels) < arm.min_channels:
                        continue
                    for pretraining, k in self._repetitions():
                        run = self._finetune(dataset, backbone, name, arm, pretraining, k)
                        earlier = shared.get(run.digest)
                        shared[run.digest] = replace(
                            earlier or run, names=(*(earlier.names if earlier else ()), name)
                        )
                found += shared.values()
        return tuple(found)

    def _finetune(
        self, dataset: str, backbone: str, name: str, arm: Arm, pretraining: int, repetition: int
    ) -> FinetuneRun:
        study, target, data = self.study, self.study.datasets[dataset], self.target_data[dataset]
        channels, recipe = len(target.channels), self.study.finetune[dataset][backbone]
        pretrain = None if arm.strategy == "scratch" else self._pretrain(backbone, arm, channels, pretraining)
        adapted = pretrain is not None and (pretrain.channels != channels or arm.stem == "reinit")
        stem = arm.stem if adapted else None
        spec = {
            "stage": "finetune",
            "version": VERSIONS["finetune"],
            "dataset": dataset,
            "backbone": backbone,
            "architecture": asdict(study.backbones[backbone]),
            "start": "scratch" if pretrain is None else "pretrained",
            "stem": stem,
            "channels": channels,
            "labels": target.labels,
            "recipe": asdict(recipe),
            "seed": study.seed,
            "repetition": repetition,
        }
        return FinetuneRun(
            study=study.study,
            scale=study.scale,
            folder=f"{self.root}/finetune/{dataset}/{backbone}/{name}/seed{repetition}",
            dataset=dataset,
            backbone=backbone,
            architecture=study.backbones[backbone],
            arm=name,
            names=(),
            strategy=arm.strategy,
            stem=stem,
            channels=channels,
            repetition=repetition,
            pretrain=pretrain,
            root_seed=study.seed,
            recipe=recipe,
            labels=target.labels,
            manifest=data.manifest,
            spec=spec,
            inputs={"manifest": data.digest} | ({"weights": pretrain.digest} if pretrain else {}),
        )

    @cached_property
    def pretrainings(self) -> tuple[PretrainRun, ...]:
        """Every pre-training that some fine-tuning starts from, once."""
        found = {run.pretrain.folder: run.pretrain for run in self.finetunings if run.pretrain}
        return tuple(found.values())

    # -- evaluation ----------------------------------------------------------------------------------------------

    @cached_property
    def evaluations(self) -> tuple[EvaluateRun, ...]:
        """One evaluation for each dataset and backbone."""
        found = []
        for dataset in self.study.datasets:
            data = self.target_data[dataset]
            for backbone in self.study.backbones:
                cells = tuple(
                    run for run in self.finetunings if (run.dataset, run.backbone) == (dataset, backbone)
                )
                found.append(
                    EvaluateRun(
                        study=self.study.study,
                        scale=self.study.scale,
                        folder=f"{self.root}/evaluate/{dataset}/{backbone}",
                        dataset=dataset,
                        backbone=backbone,
                        finetunings=cells,
                        manifest=data.manifest,
                        spec={
                            "stage": "evaluate",
                            "version": VERSIONS["evaluate"],
                            **asdict(self.study.evaluate[dataset]),
                        },
                        inputs={"manifest": data.digest}
                        | {f"{run.arm}/seed{run.repetition}": run.digest for run in cells},
                    )
                )
        return tuple(found)

    @cached_property
    def classifiers(self) -> tuple[EvaluateRun, ...]:
        """One top-1 evaluation for each backbone that is pre-trained."""
        found = []
        for backbone in self.study.backbones:
            cells = tuple(run for run in self.pretrainings if run.backbone == backbone)
            if not cells:
                continue
            found.append(
                EvaluateRun(
                    study=self.study.study,
                    scale=self.study.scale,
                    folder=f"{self.root}/evaluate/top1/{backbone}",
                    dataset="top1",
                    backbone=backbone,
                    pretrainings=cells,
                    manifest=self.pretrain_data.manifest,
                    spec={"stage": "top1", "version": VERSIONS["top1"], "orders": list(self.study.orders)},
                    inputs={"manifest": self.pretrain_data.digest}
                    | {f"{run.label}/seed{run.repetition}": run.digest for run in cells},
                )
            )
        return tuple(found)

    @cached_property
    def compare_spec(self) -> dict[str, Any]:
        """What the comparison depends on besides the evaluations: the declared tests and the paper's numbers."""
        study = self.study
        return {
            "stage": "compare",
            "version": VERSIONS["compare"],
            "compare": asdict(study.compare),
            "repetitions": asdict(study.repetitions),
            "scale": study.scale,
            "title": study.title,
            # Under which arms each run is shown.
            "names": {run.folder.removeprefix(self.root): list(run.names) for run in self.finetunings},
            "reported": _content("paper/reported.csv"),
        }

    @cached_property
    def compare_inputs(self) -> dict[str, str]:
        """The digest of every evaluation, by dataset (or top1) and backbone."""
        return {f"{run.dataset}/{run.backbone}": run.digest for run in (*self.evaluations, *self.classifiers)}

    @cached_property
    def compare_digest(self) -> str:
        """Digest of the comparison."""
        return digest_of(self.compare_spec, self.compare_inputs)


def _content(path: str | None) -> str | None:
    """Return the SHA-256 of a small text file that a job depends on; None if unset or not there yet."""
    if path is None or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()

"""Every job of a study, enumerated in one place: names, folders, specs and cumulative digests.

Two cells whose effective specs coincide (all stems but `reinit` at three channels; `duplicate` at three channels,
which is `rgb`) are one run shown under all its names. A digest covers a job's own part of the study and the
digests of everything upstream, so a changed learning rate of one dataset changes the digests of that dataset's
fine-tunings and of what follows from them, and no other.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from bench.record import digest_of
from bench.study.arms import Arm, Stem
from bench.study.datasets import PretrainData, Target
from bench.study.jobs import DataRun, EvaluateRun, FinetuneRun, PretrainRun, effective, label_of
from bench.study.place import own_file, results_folder
from bench.study.schema import Study

VERSIONS = {"acquire": 2, "prepare": 2, "pretrain": 3, "finetune": 2, "evaluate": 2, "top1": 3, "compare": 3}
"""Raised when the meaning of a stage's outputs changes, so that results of the old code are not mixed in."""


SETTINGS = ("fill", "scope", "probability", "order", "normalise")
"""Settings of an arm that are part of its pre-training."""


class Runs:
    """All jobs of one study. Cheap to make: specs are built from the study alone, no file is read but the
    descriptions of folder datasets.
    """

    def __init__(self, study: Study, results: str | None = None) -> None:
        self.study = study
        self.root = f"{results or results_folder()}/{study.study}"
        self._pretrained: dict[tuple[str, str, int], PretrainRun] = {}

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
        prepare: dict[str, Any] = {"form": data.form, "size": data.size}
        if data.holdout is not None:
            prepare["holdout"] = data.holdout
        return self._data(data.name, data.source, _place(data), prepare)

    @cached_property
    def target_data(self) -> dict[str, DataRun]:
        """The targets' data by name."""
        found = {}
        for name, target in self.study.datasets.items():
            variants = sorted({target.labels, *self.study.evaluate[name].label_variants})
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
            found[name] = self._data(name, target.source or name, _place(target), prepare)
        return found

    def data(self, name: str) -> DataRun:
        """The data run of a target or of the classification data, by folder name."""
        return self.pretrain_data if name == self.pretrain_data.name else self.target_data[name]

    # -- training ------------------------------------------------------------------------------------------------

    def _pretrain(self, backbone: str, arm: Arm, n: int, repetition: int) -> PretrainRun:
        recipe, data = self.study.pretrain[backbone], self.pretrain_data
        arm, channels = effective(arm, n, erasing=recipe.erasing > 0, epochs=recipe.epochs)
        published = self.study.published.get(backbone) if arm.strategy == "rgb" else None
        if published is not None:
            arm = replace(arm, epochs=None)
        label = label_of(arm, channels)
        if (backbone, label, repetition) in self._pretrained:
            return self._pretrained[backbone, label, repetition]
        if arm.epochs is not None:
            recipe = replace(recipe, epochs=arm.epochs)
        spec = {
            "stage": "pretrain",
            "version": VERSIONS["pretrain"],
            "backbone": backbone,
            "architecture": asdict(self.study.backbones[backbone]),
            "strategy": arm.strategy,
            "settings": {key: getattr(arm, key) for key in SETTINGS},
            "channels": channels,
            "recipe": recipe.spec,
            "seed": self.study.seed,
            "repetition": repetition,
        }
        if published is not None:
            # Nothing is trained: of the recipe only what evaluates counts, and a file is its digest, wherever it lies.
            spec["recipe"] = {key: getattr(recipe, key) for key in ("crop", "eval_ratio", "resize")}
            spec["published"] = {"timm": published.timm, "sha256": published.sha256}
        run = PretrainRun(
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
            order=arm.order,
            normalise=arm.normalise,
            published=published,
            channels=channels,
            repetition=repetition,
            root_seed=self.study.seed,
            recipe=recipe,
            data=data.name,
            manifest=data.manifest,
            spec=spec,
            inputs={"manifest": data.digest},
        )
        self._pretrained[backbone, label, repetition] = run
        return run

    def _repetitions(self) -> list[tuple[int, int]]:
        """Pairs (pre-training, fine-tuning); the second is the number in the fine-tuning's folder."""
        design = self.study.repetitions
        if design.design == "matched":
            return [(k, k) for k in range(design.pretrain)]
        return [(k // design.finetune, k) for k in range(design.pretrain * design.finetune)]

    @cached_property
    def finetunings(self) -> tuple[FinetuneRun, ...]:
        """Every fine-tuning once, in the study's order of datasets, backbones, arms, repetitions."""
        return tuple(run for place in self.places.values() for run in place)

    @cached_property
    def places(self) -> dict[tuple[str, str], tuple[FinetuneRun, ...]]:
        """The fine-tunings by dataset and backbone. Its time is linear in their number."""
        return {
            (dataset, backbone): tuple(self._of_place(dataset, backbone))
            for dataset in self.study.datasets
            for backbone in self.study.backbones
        }

    def _of_place(self, dataset: str, backbone: str) -> Iterator[FinetuneRun]:
        """Yield the fine-tunings of one dataset and backbone, each once, under all its names."""
        study, target, data = self.study, self.study.datasets[dataset], self.target_data[dataset]
        channels, recipe = len(target.channels), study.finetune[dataset][backbone]
        # Arms of one place differ in start, stem and repetition alone: those that agree in them are one run.
        alike: dict[tuple[str, str | None, int], tuple[PretrainRun | None, list[str]]] = {}
        for name, arm in study.arms.items():
            for pretraining, k in self._repetitions():
                if not study.asks_for(dataset, backbone, name, k):
                    continue
                scratch = arm.strategy == "scratch"
                start = None if scratch else self._pretrain(backbone, arm, channels, pretraining)
                adapted = start is not None and (start.channels != channels or arm.stem == "reinit")
                key = (start.folder if start else "", arm.stem if adapted else None, k)
                alike.setdefault(key, (start, []))[1].append(name)
        shared = {
            "stage": "finetune",
            "version": VERSIONS["finetune"],
            "dataset": dataset,
            "backbone": backbone,
            "architecture": asdict(study.backbones[backbone]),
            "channels": channels,
            "labels": target.labels,
            "recipe": recipe.spec,
            "seed": study.seed,
        }
        for (_, stem, k), (start, names) in alike.items():
            own = {"start": "pretrained" if start else "scratch", "stem": stem, "repetition": k}
            yield FinetuneRun(
                study=study.study,
                scale=study.scale,
                folder=f"{self.root}/finetune/{dataset}/{backbone}/{names[0]}/seed{k}",
                dataset=dataset,
                backbone=backbone,
                architecture=study.backbones[backbone],
                arm=names[0],
                names=tuple(names),
                strategy=study.arms[names[0]].strategy,
                stem=cast("Stem | None", stem),
                channels=channels,
                repetition=k,
                pretrain=start,
                root_seed=study.seed,
                recipe=recipe,
                labels=target.labels,
                manifest=data.manifest,
                spec=shared | own,
                inputs={"manifest": data.digest} | ({"weights": start.digest} if start else {}),
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
            data, settings = self.target_data[dataset], asdict(self.study.evaluate[dataset])
            for backbone in self.study.backbones:
                if not (cells := self.places[dataset, backbone]):
                    continue
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
                            **{key: item for key, item in settings.items() if key != "subsets"},
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
                    spec={"stage": "top1", "version": VERSIONS["top1"], "orders": list(self.study.orders)}
                    # Unset it leaves the digest as it was before there was such a setting.
                    | ({"spectral": list(self.study.spectral)} if self.study.spectral else {}),
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
            **({"factors": study.factors} if study.factors else {}),
            # Groups are read from the counts of the samples: the evaluations do not depend on them.
            "subsets": {name: list(item.subsets) for name, item in study.evaluate.items() if item.subsets},
            "reported": _content(own_file("paper/reported.csv")),
            "context": _content(own_file("paper/context.csv")),
        }

    @cached_property
    def compare_inputs(self) -> dict[str, str]:
        """The digest of every evaluation, by dataset (or top1) and backbone."""
        return {f"{run.dataset}/{run.backbone}": run.digest for run in (*self.evaluations, *self.classifiers)}

    @cached_property
    def compare_digest(self) -> str:
        """Digest of the comparison."""
        return digest_of(self.compare_spec, self.compare_inputs)


def _place(data: Target | PretrainData) -> dict[str, Any]:
    """Where a user's own data lie, and the digest that the study expects of them."""
    return {"path": data.path} | ({"sha256": data.sha256} if data.sha256 else {})


def _content(path: str | None) -> str | None:
    """Return the SHA-256 of a small text file that a job depends on; None if unset or not there yet."""
    if path is None or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()

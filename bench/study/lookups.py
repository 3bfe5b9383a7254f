"""What a rule's wildcards mean: the job that they name, its digest, its inputs. `rules/` holds no more than names."""

import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

from bench.adopted import evaluated_from
from bench.study.files import fingerprint
from bench.study.jobs import EvaluateRun, FinetuneRun, PretrainRun
from bench.study.runs import Runs

Wildcards = Any
"""Snakemake's: an attribute for each name between braces in the rule's output."""
PREPARING = 16
"""Cores of one preparation, where there are as many: then a few big datasets at a time, each with several processes."""


class Lookups:
    """Input functions and digests of the rules of one study."""

    def __init__(self, runs: Runs, study_file: Path, results: str) -> None:
        """`results` is the folder that the jobs shall write below, as the working folder sees it."""
        self.runs, self.study_file, self.results = runs, study_file, results
        # Drawn data are too few to be divided.
        self.preparing = 1 if runs.study.miniature else PREPARING
        self.pretrainings = {run.folder: run for run in runs.pretrainings}
        self.finetunings = {run.folder: run for run in runs.finetunings}
        self.evaluations = {run.folder: run for run in (*runs.evaluations, *runs.classifiers)}

    def stage(self, verb: str) -> Callable[[Wildcards, Any], str]:
        """Return the parameter that starts a stage: the interpreter that runs Snakemake, whatever is first on PATH.

        It takes the shell's place, so that a signal to the job reaches it and is waited for. A function of the
        output, which Snakemake does not compare: a copy of a study under another name re-runs only what differs.
        """

        def words(wildcards: Wildcards, output: Any) -> str:
            command = f"exec env BENCH_RESULTS={quote(self.results)} {quote(sys.executable)} -m bench {verb}"
            return f"{command} --study {quote(str(self.study_file))}"

        return words

    def stage_on_cores(self, verb: str) -> Callable[[Wildcards, Any, int], str]:
        """Return the parameter that starts a stage which divides its work: it is told how many cores are its own."""
        plain = self.stage(verb)

        def words(wildcards: Wildcards, output: Any, threads: int) -> str:
            return plain(wildcards, output).replace("exec env ", f"exec env BENCH_CORES={threads} ", 1)

        return words

    def acquire_digest(self, wildcards: Wildcards) -> str:
        return self.runs.data(wildcards.data).acquire_digest

    def user_files(self, wildcards: Wildcards) -> Any:
        """What changes when the user's own files do."""
        return fingerprint(self.runs.study, self.runs.data(wildcards.data))

    def prepare_digest(self, wildcards: Wildcards) -> str:
        return self.runs.data(wildcards.data).digest

    def _pretraining(self, wildcards: Wildcards) -> PretrainRun:
        place = f"pretrain/{wildcards.backbone}/{wildcards.strategy}/seed{wildcards.seed}"
        return self.pretrainings[f"{self.runs.root}/{place}"]

    def _finetuning(self, wildcards: Wildcards) -> FinetuneRun:
        place = f"finetune/{wildcards.dataset}/{wildcards.backbone}/{wildcards.arm}/seed{wildcards.seed}"
        return self.finetunings[f"{self.runs.root}/{place}"]

    def _evaluation(self, wildcards: Wildcards) -> EvaluateRun:
        return self.evaluations[f"{self.runs.root}/evaluate/{wildcards.dataset}/{wildcards.backbone}"]

    def _classifiers(self, wildcards: Wildcards) -> EvaluateRun:
        return self.evaluations[f"{self.runs.root}/evaluate/top1/{wildcards.backbone}"]

    def pretrain_digest(self, wildcards: Wildcards) -> str:
        return self._pretraining(wildcards).digest

    def finetune_digest(self, wildcards: Wildcards) -> str:
        return self._finetuning(wildcards).digest

    def evaluate_digest(self, wildcards: Wildcards) -> str:
        return self._evaluation(wildcards).digest

    def top1_digest(self, wildcards: Wildcards) -> str:
        return self._classifiers(wildcards).digest

    def pretrained_weights(self, wildcards: Wildcards) -> list[str]:
        """Weights and record that a fine-tuning starts from; none for scratch."""
        run = self._finetuning(wildcards).pretrain
        return [run.weights, run.record] if run else []

    def weights_of_cells(self, wildcards: Wildcards) -> list[str]:
        cells = self._evaluation(wildcards).finetunings
        return [path for run in cells for path in evaluated_from(run.folder, run.weights, run.record)]

    def weights_of_classifiers(self, wildcards: Wildcards) -> list[str]:
        cells = self._classifiers(wildcards).pretrainings
        return [path for run in cells for path in evaluated_from(run.folder, run.weights, run.record)]

    def evaluation_manifest(self, wildcards: Wildcards) -> str:
        return self._evaluation(wildcards).manifest

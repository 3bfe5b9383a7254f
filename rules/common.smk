# The study, its paths and its digests; the only Python in rules/.

import sys

from bench.study.choice import chosen_study
from bench.study.files import fingerprint
from bench.study.outputs import COMPARE_TABLES, TABLES, figure_names
from bench.study.reading import load_study
from bench.study.runs import Runs

STUDY_FILE = chosen_study(workflow.overwrite_configfiles, config)
STUDY = load_study(STUDY_FILE)
RUNS = Runs(STUDY)
ROOT = RUNS.root

EVALUATIONS = [run.record for run in (*RUNS.evaluations, *RUNS.classifiers)]
TRAINED = [run.record for run in (*RUNS.pretrainings, *RUNS.finetunings)]
LOSSES = [f"{run.folder}/log.csv" for run in (*RUNS.pretrainings, *RUNS.finetunings)]
BY_FOLDER = {
    run.folder: run for run in (*RUNS.pretrainings, *RUNS.finetunings, *RUNS.evaluations, *RUNS.classifiers)
}


# `bench VERB ...` in a rule: the interpreter that runs Snakemake, whatever is first on PATH, with this study.
# A function and no parameter, so that a copy of a study under another name re-runs only what differs.
shell.prefix(
    f'bench() {{{{ verb="$1"; shift; "{sys.executable}" -m bench "$verb" --study "{STUDY_FILE}" "$@"; }}}}; '
)


wildcard_constraints:
    data="[a-z0-9_-]+",
    dataset="|".join(STUDY.datasets),
    backbone="|".join(STUDY.backbones),
    strategy="[a-z0-9.-]+",
    arm="|".join(STUDY.arms),
    seed="[0-9]+",


def acquire_digest(wildcards):
    return RUNS.data(wildcards.data).acquire_digest


def user_files(wildcards):
    return fingerprint(STUDY, RUNS.data(wildcards.data))


def prepare_digest(wildcards):
    return RUNS.data(wildcards.data).digest


def pretrain_run(wildcards):
    return BY_FOLDER[f"{ROOT}/pretrain/{wildcards.backbone}/{wildcards.strategy}/seed{wildcards.seed}"]


def finetune_run(wildcards):
    return BY_FOLDER[
        f"{ROOT}/finetune/{wildcards.dataset}/{wildcards.backbone}/{wildcards.arm}/seed{wildcards.seed}"
    ]


def evaluate_run(wildcards):
    return BY_FOLDER[f"{ROOT}/evaluate/{wildcards.dataset}/{wildcards.backbone}"]


def top1_run(wildcards):
    return BY_FOLDER[f"{ROOT}/evaluate/top1/{wildcards.backbone}"]


def pretrain_digest(wildcards):
    return pretrain_run(wildcards).digest


def finetune_digest(wildcards):
    return finetune_run(wildcards).digest


def evaluate_digest(wildcards):
    return evaluate_run(wildcards).digest


def top1_digest(wildcards):
    return top1_run(wildcards).digest


def pretrained_weights(wildcards):
    run = finetune_run(wildcards).pretrain
    return [run.weights, run.record] if run else []


def weights_of_cells(wildcards):
    return [path for run in evaluate_run(wildcards).finetunings for path in (run.weights, run.record)]


def weights_of_classifiers(wildcards):
    return [path for run in top1_run(wildcards).pretrainings for path in (run.weights, run.record)]


def evaluation_manifest(wildcards):
    return evaluate_run(wildcards).manifest

# The study, its paths and its digests; the only Python in rules/.

from bench.study.choice import chosen_study
from bench.study.lookups import Lookups
from bench.study.outputs import DATA_FIGURES, compare_tables, data_names, figure_names, table_names
from bench.study.place import gpus_per_job, own_file, results_folder
from bench.study.reading import load_study
from bench.study.runs import Runs

STUDY_FILE = chosen_study(workflow.overwrite_configfiles, config)
STUDY = load_study(STUDY_FILE)
RUNS = Runs(STUDY)
# As a module of another workflow, with a prefix, results lie below that.
LOOKUPS = Lookups(RUNS, STUDY_FILE, workflow.modifier.path_modifier.modify(results_folder()))
ROOT = RUNS.root

EVALUATIONS = [run.record for run in (*RUNS.evaluations, *RUNS.classifiers)]
TRAINED = [run.record for run in (*RUNS.pretrainings, *RUNS.finetunings)]
LOSSES = [f"{run.folder}/log.csv" for run in (*RUNS.pretrainings, *RUNS.finetunings)]

# `bench pretrain` starts as many processes, each with a GPU of its own (BENCH_GPUS_PER_JOB).
GPUS_PER_JOB = gpus_per_job()


wildcard_constraints:
    data="[a-z0-9_-]+",
    dataset="|".join(STUDY.datasets),
    backbone="|".join(STUDY.backbones),
    strategy="[a-z0-9.-]+",
    arm="[a-z0-9_-]+",
    seed="[0-9]+",

# Is Channel Shuffling Pre-training true? From archives as published to tables, figures and a report.
#
# One study is read, alone: `--configfile config/paper.yaml`; without it, config/demo.yaml. `make demo` and
# `python -m bench run --study FILE` start this file with the lock and the checks that belong to it.


report: "paper/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/look.smk"
include: "rules/pretrain.smk"
include: "rules/finetune.smk"
include: "rules/evaluate.smk"
include: "rules/compare.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.figures.output,
        rules.look.output,
        rules.tables.output,


rule all_pretrain:
    input:
        [run.record for run in RUNS.pretrainings],


rule all_finetune:
    input:
        [run.record for run in RUNS.finetunings],


rule all_evaluate:
    input:
        EVALUATIONS,

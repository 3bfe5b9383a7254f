# Counts, from which every score follows: all cells of a dataset and backbone in one job, since importing torch
# costs more than predicting a small cell.


rule evaluate:
    input:
        LOOKUPS.weights_of_cells,
        manifest=LOOKUPS.evaluation_manifest,
    output:
        counts=f"{ROOT}/evaluate/{{dataset}}/{{backbone}}/counts.npz",
        examples=f"{ROOT}/evaluate/{{dataset}}/{{backbone}}/examples.npz",
        record=f"{ROOT}/evaluate/{{dataset}}/{{backbone}}/record.json",
    log:
        f"{ROOT}/logs/evaluate/{{dataset}}/{{backbone}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{dataset}}/{{backbone}}.tsv"
    resources:
        gpu=GPUS_PER_JOB,
    params:
        bench=LOOKUPS.stage("evaluate"),
        digest=LOOKUPS.evaluate_digest,
    shell:
        "{params.bench} --dataset {wildcards.dataset} --backbone {wildcards.backbone} > {log} 2>&1"


rule top1:
    input:
        LOOKUPS.weights_of_classifiers,
        manifest=RUNS.pretrain_data.manifest,
    output:
        correct=f"{ROOT}/evaluate/top1/{{backbone}}/correct.npz",
        record=f"{ROOT}/evaluate/top1/{{backbone}}/record.json",
    log:
        f"{ROOT}/logs/evaluate/top1/{{backbone}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/top1/{{backbone}}.tsv"
    resources:
        gpu=1,
    params:
        bench=LOOKUPS.stage("evaluate"),
        digest=LOOKUPS.top1_digest,
    shell:
        "{params.bench} --dataset top1 --backbone {wildcards.backbone} > {log} 2>&1"

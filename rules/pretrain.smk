# One classifier for each backbone, strategy, number of channels and seed; every dataset with as many channels
# shares it.


rule pretrain:
    input:
        manifest=RUNS.pretrain_data.manifest,
    output:
        weights=f"{ROOT}/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}/weights.safetensors",
        model=f"{ROOT}/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}/weights.json",
        losses=f"{ROOT}/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}/log.csv",
        record=f"{ROOT}/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}/record.json",
    log:
        f"{ROOT}/logs/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/pretrain/{{backbone}}/{{strategy}}/seed{{seed}}.tsv"
    # The longest jobs first, so that the last of them does not run alone.
    priority: 10
    resources:
        gpu=GPUS_PER_JOB,
    params:
        bench=LOOKUPS.stage("pretrain"),
        digest=LOOKUPS.pretrain_digest,
    shell:
        "{params.bench} --backbone {wildcards.backbone}"
        " --strategy {wildcards.strategy} --seed {wildcards.seed} > {log} 2>&1"

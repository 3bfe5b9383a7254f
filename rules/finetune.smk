# One UperNet for each dataset, backbone, arm and seed.


rule finetune:
    input:
        LOOKUPS.pretrained_weights,
        manifest=f"{ROOT}/data/{{dataset}}/manifest.json",
    output:
        weights=f"{ROOT}/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}/weights.safetensors",
        model=f"{ROOT}/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}/weights.json",
        losses=f"{ROOT}/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}/log.csv",
        record=f"{ROOT}/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}/record.json",
    log:
        f"{ROOT}/logs/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/finetune/{{dataset}}/{{backbone}}/{{arm}}/seed{{seed}}.tsv"
    resources:
        gpu=GPUS_PER_JOB,
    params:
        bench=LOOKUPS.stage("finetune"),
        digest=LOOKUPS.finetune_digest,
    shell:
        "{params.bench} --dataset {wildcards.dataset} --backbone {wildcards.backbone}"
        " --arm {wildcards.arm} --seed {wildcards.seed} > {log} 2>&1"

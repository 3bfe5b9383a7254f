# From archives as published to arrays that are read without decoding.


rule acquire:
    output:
        f"{ROOT}/data/{{data}}/acquired.json",
    log:
        f"{ROOT}/logs/acquire/{{data}}.log",
    benchmark:
        f"{ROOT}/benchmarks/acquire/{{data}}.tsv"
    params:
        bench=LOOKUPS.stage("acquire"),
        digest=LOOKUPS.acquire_digest,
        files=LOOKUPS.user_files,
    shell:
        "{params.bench} --dataset {wildcards.data} > {log} 2>&1"


rule prepare:
    input:
        rules.acquire.output,
    output:
        f"{ROOT}/data/{{data}}/manifest.json",
    log:
        f"{ROOT}/logs/prepare/{{data}}.log",
    benchmark:
        f"{ROOT}/benchmarks/prepare/{{data}}.tsv"
    # At most; Snakemake gives no more than there are.
    threads: LOOKUPS.preparing
    params:
        bench=LOOKUPS.stage_on_cores("prepare"),
        digest=LOOKUPS.prepare_digest,
    shell:
        "{params.bench} --dataset {wildcards.data} > {log} 2>&1"

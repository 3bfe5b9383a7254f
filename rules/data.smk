# From archives as published to arrays that are read without decoding.


rule acquire:
    output:
        f"{ROOT}/data/{{data}}/acquired.json",
    log:
        f"{ROOT}/logs/acquire/{{data}}.log",
    benchmark:
        f"{ROOT}/benchmarks/acquire/{{data}}.tsv"
    params:
        digest=acquire_digest,
        files=user_files,
    shell:
        "bench acquire --dataset {wildcards.data} > {log} 2>&1"


rule prepare:
    input:
        rules.acquire.output,
    output:
        f"{ROOT}/data/{{data}}/manifest.json",
    log:
        f"{ROOT}/logs/prepare/{{data}}.log",
    benchmark:
        f"{ROOT}/benchmarks/prepare/{{data}}.tsv"
    params:
        digest=prepare_digest,
    shell:
        "bench prepare --dataset {wildcards.data} > {log} 2>&1"

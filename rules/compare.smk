# From counts to scores, intervals, tests and verdicts: numpy and scipy, no torch.


rule compare:
    input:
        EVALUATIONS,
        TRAINED,
        "paper/reported.csv",
    output:
        expand(f"{ROOT}/compare/{{table}}.csv", table=COMPARE_TABLES),
        f"{ROOT}/compare/record.json",
    log:
        f"{ROOT}/logs/compare.log",
    benchmark:
        f"{ROOT}/benchmarks/compare.tsv"
    params:
        digest=RUNS.compare_digest,
    shell:
        "bench compare > {log} 2>&1"

# From counts to scores, intervals, tests and verdicts: numpy and scipy, no torch.


rule compare:
    input:
        EVALUATIONS,
        TRAINED,
        own_file("paper/reported.csv"),
        own_file("paper/context.csv"),
    output:
        expand(f"{ROOT}/compare/{{table}}.csv", table=compare_tables(STUDY)),
        f"{ROOT}/compare/record.json",
    log:
        f"{ROOT}/logs/compare.log",
    benchmark:
        f"{ROOT}/benchmarks/compare.tsv"
    params:
        bench=LOOKUPS.stage("compare"),
        digest=RUNS.compare_digest,
    shell:
        "{params.bench} > {log} 2>&1"

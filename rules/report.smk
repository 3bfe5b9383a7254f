# Tables, figures and the report, from finished numbers: seconds each, not worth a place in a cluster's queue.


rule tables:
    input:
        rules.compare.output,
    output:
        [
            report(
                f"{ROOT}/tables/{name}.html",
                caption="../paper/captions/tables.rst",
                category="Tables",
                labels={"table": name, "scale": STUDY.scale},
            )
            for name in table_names(STUDY)
        ],
        expand(f"{ROOT}/tables/{{table}}.{{kind}}", table=table_names(STUDY), kind=["csv", "md", "tex"]),
        f"{ROOT}/tables/main.txt",
    log:
        f"{ROOT}/logs/tables.log",
    benchmark:
        f"{ROOT}/benchmarks/tables.tsv"
    localrule: True
    params:
        bench=LOOKUPS.stage("tables"),
        digest=RUNS.compare_digest,
    shell:
        "{params.bench} > {log} 2>&1"


rule figures:
    input:
        rules.compare.output,
        EVALUATIONS,
        LOSSES,
    output:
        [
            report(
                f"{ROOT}/figures/{name}.png",
                caption="../paper/captions/figures.rst",
                category="Figures",
                labels={"figure": name, "scale": STUDY.scale},
            )
            for name in figure_names(STUDY)
        ],
        expand(f"{ROOT}/figures/{{figure}}.pdf", figure=figure_names(STUDY)),
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures.tsv"
    localrule: True
    params:
        bench=LOOKUPS.stage("figures"),
        digest=RUNS.compare_digest,
    shell:
        "{params.bench} > {log} 2>&1"


rule report:
    input:
        rules.compare.output,
        rules.tables.output,
        rules.figures.output,
        own_file("paper/report.typ"),
        [own_file(STUDY.discussion)] if STUDY.discussion else [],
    output:
        report(
            f"{ROOT}/report/report.pdf",
            caption="../paper/captions/report.rst",
            category="Report",
            labels={"scale": STUDY.scale},
        ),
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    localrule: True
    params:
        bench=LOOKUPS.stage("report"),
        digest=RUNS.compare_digest,
    shell:
        "{params.bench} > {log} 2>&1"

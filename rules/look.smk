# Pictures of what was prepared, and of what each strategy does to it: to be looked at before any number.


rule look:
    input:
        [RUNS.data(name).manifest for name in data_names(STUDY)],
    output:
        [
            report(
                f"{ROOT}/figures/data/{name}/sheet.png",
                caption="../paper/captions/sheets.rst",
                category="Data",
                labels={"dataset": name, "picture": "contact sheet", "scale": STUDY.scale},
            )
            for name in data_names(STUDY)
        ],
        [
            report(
                f"{ROOT}/figures/data/{name}/{figure}.png",
                caption=f"../paper/captions/{figure}.rst",
                category="Data",
                labels={"dataset": name, "picture": figure, "scale": STUDY.scale},
            )
            for name in data_names(STUDY)
            for figure in DATA_FIGURES
        ],
        expand(f"{ROOT}/figures/data/{{name}}/{{figure}}.pdf", name=data_names(STUDY), figure=DATA_FIGURES),
        report(
            f"{ROOT}/figures/data/strategies.png",
            caption="../paper/captions/strategies.rst",
            category="Data",
            labels={"dataset": "photographs", "picture": "strategies", "scale": STUDY.scale},
        ),
    log:
        f"{ROOT}/logs/look.log",
    benchmark:
        f"{ROOT}/benchmarks/look.tsv"
    params:
        bench=LOOKUPS.stage("look"),
        digest=[RUNS.data(name).digest for name in data_names(STUDY)],
    shell:
        "{params.bench} > {log} 2>&1"

"""A study less what it runs nowhere: datasets and backbones of which every cell is left out.

So nobody is asked for the archives of a dataset that the grid excludes, nothing of it is prepared or drawn, and every
table and figure speaks of what was run.
"""

from collections.abc import Collection
from dataclasses import replace

from bench.study.checks import require
from bench.study.grid import Grid
from bench.study.schema import Study


def narrowed(study: Study) -> Study:
    """Return the study with the datasets and backbones that it runs something on.

    Raises ValueError where that is none, or none of those that the grid's axes or `compare.decisive` name.
    """
    datasets = [name for name in study.datasets if any(place[0] == name for place in study.places)]
    backbones = [name for name in study.backbones if any(place[1] == name for place in study.places)]
    if len(datasets) == len(study.datasets) and len(backbones) == len(study.backbones):
        return study
    require(bool(study.places), "grid.exclude leaves no run; leave out less")
    places = {f"{dataset}/{backbone}" for dataset in datasets for backbone in backbones}
    decisive = tuple(place for place in study.compare.decisive if place in places)
    require(
        bool(decisive) or not study.compare.decisive,
        "compare.decisive: grid.exclude leaves out every place that it names",
    )
    return replace(
        study,
        datasets={name: study.datasets[name] for name in datasets},
        backbones={name: study.backbones[name] for name in backbones},
        grid=_grid(study.grid, datasets, backbones) if study.grid else None,
        pretrain={name: study.pretrain[name] for name in backbones},
        published={name: item for name, item in study.published.items() if name in backbones},
        finetune={d: {b: study.finetune[d][b] for b in backbones} for d in datasets},
        evaluate={name: study.evaluate[name] for name in datasets},
        compare=replace(study.compare, decisive=decisive),
    )


def _grid(grid: Grid, datasets: Collection[str], backbones: Collection[str]) -> Grid:
    exclude = tuple(less for pattern in grid.exclude if (less := pattern.within(datasets, backbones)))
    if grid.axes is None:
        return replace(grid, exclude=exclude)
    kept = {
        key: tuple(name for name in getattr(grid.axes, key) if name in known)
        for key, known in (("dataset", datasets), ("backbone", backbones))
    }
    for key, names in kept.items():
        # An empty list would mean everywhere.
        there = bool(names) or not getattr(grid.axes, key)
        require(there, f"grid.axes.{key}: exclude leaves out all of {list(getattr(grid.axes, key))}")
    axes = replace(grid.axes, dataset=kept["dataset"], backbone=kept["backbone"])
    return replace(grid, axes=axes, exclude=exclude)

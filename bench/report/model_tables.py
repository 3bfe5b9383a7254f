"""Tables of the trained models themselves: top-1 by channel order, and what the runs cost."""

import pandas as pd

from bench.report.formats import NONE, percent
from bench.report.layout import Cell, Table
from bench.report.numbers import Numbers, backbone_label


def top1_table(numbers: Numbers) -> Table:
    """Return top-1 of the pre-trained classifiers by channel order, and what reversing the order costs."""
    frame, rows = numbers.top1, []
    orders = [order for order in numbers.study.orders if order in set(frame["order"])]
    label = "label" if "label" in frame else "strategy"
    groups = ["backbone", label, "strategy", "channels"]
    means = frame.groupby([*groups, "order"], sort=False)["value"].mean()
    seeds = frame.groupby(groups, sort=False)["seed"].nunique()
    for backbone in numbers.study.backbones:
        own = sorted(
            (key for key in seeds.index if key[0] == backbone), key=lambda key: (key[2] != "rgb", *key[1:])
        )
        rgb = next(
            (means.get((*key, "natural"), float("nan")) for key in own if key[2] == "rgb"), float("nan")
        )
        for key in own:
            value = {order: means.get((*key, order), float("nan")) for order in orders}
            name = str(key[1]).removesuffix(f"-{key[3]}ch")
            stands_in = key[2] == "rgb" and backbone in numbers.study.published
            name += " (published weights)" if stands_in else ""
            texts = [backbone_label(backbone), name, str(key[3]), str(seeds[key])]
            texts += [percent(value[order]) for order in orders]
            natural = value.get("natural", float("nan"))
            texts.append(percent(rgb - natural, signed=True) if key[2] != "rgb" else "")
            if "reversed" in orders:
                texts.append(percent(value["reversed"] - natural, signed=True))
            rows.append(tuple(map(Cell, texts)))
    tail = ("reversed - natural",) if "reversed" in orders else ()
    drops = numbers.verdicts[numbers.verdicts["kind"] == "drop"]
    elsewhere = ": the claim about the drop has one among the claims" if drops["value"].notna().any() else ""
    published = tuple(
        f"{backbone_label(backbone)}: {weights.words} stand in for rgb; nothing was trained here."
        for backbone, weights in numbers.study.published.items()
    )
    return Table(
        name="top1",
        title=numbers.titled("Top-1 accuracy of the pre-trained classifiers in per cent, by channel order."),
        columns=("Backbone", "Pre-training", "Channels", "Seeds", *orders, "drop from rgb", *tail),
        keys=2,
        rows=tuple(rows),
        notes=(
            f"Mean over pre-training seeds; {numbers.classifier_weights}; validation images; no interval is given "
            f"here{elsewhere}. Drop: rgb minus this pre-training, in natural order.",
            *published,
        ),
    )


def cost_table(numbers: Numbers, cost: pd.DataFrame) -> Table:
    """Return time, memory and, where they were measured, the device's memory and energy by stage and device.

    Not reproducible to the byte from another run: it holds clock time.
    """
    energy = "energy_joules" in cost and cost["energy_joules"].notna().any()
    memory = "peak_device_memory_bytes" in cost and cost["peak_device_memory_bytes"].notna().any()
    rows = []
    for (stage, device), group in cost.groupby(["stage", "device"], sort=False, dropna=False):
        seconds, peak = group["wall_seconds"], group["peak_memory_bytes"]
        words = [str(stage), str(device), str(len(group)), f"{seconds.sum():.1f}", f"{seconds.max():.1f}"]
        words.append(NONE if peak.isna().all() else f"{peak.max() / 2**20:.0f}")
        if memory:
            most = group["peak_device_memory_bytes"].max()
            words.append(NONE if pd.isna(most) else f"{most / 2**20:.0f}")
        if energy:
            joules = group["energy_joules"].sum(min_count=1)
            words.append(NONE if pd.isna(joules) else f"{joules / 3.6e6:.3f}")
        rows.append(tuple(map(Cell, words)))
    return Table(
        name="cost",
        title=numbers.titled("Cost by stage."),
        columns=(
            "Stage",
            "Device",
            "Jobs",
            "Wall s, sum",
            "Wall s, longest",
            "Peak MiB",
            *(("Device MiB",) * bool(memory)),
            *(("kWh",) * bool(energy)),
        ),
        keys=2,
        rows=tuple(rows),
        notes=(
            "Wall time and peak memory as the jobs' receipts give them; jobs may have run beside each other."
            + (" Device MiB: the most that a job held on its device." if memory else "")
            + ("" if energy else " Energy was not measured."),
        ),
    )

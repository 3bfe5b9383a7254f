"""Checks of the records one by one and against each other: schema, names, digests."""

from collections.abc import Iterator

from bench.check.folder import Folder
from bench.record import Record

PLACES = {
    "pretrain": "pretrain/{backbone}/{label}/seed{seed}",
    "finetune": "finetune/{dataset}/{backbone}/{arm}/seed{seed}",
    "evaluate": "evaluate/{dataset}/{backbone}",
    "top1": "evaluate/top1/{backbone}",
}
IN_SPEC = ("backbone", "dataset", "strategy", "channels")
"""Keys that a spec may hold and that names, label or folder repeat."""


def schema(folder: Folder) -> Iterator[str]:
    """Find records that cannot be read: fields, schema, digest."""
    if not folder.records and not folder.broken:
        yield f"{folder.path}: holds no record in pretrain/, finetune/ or evaluate/"
    yield from folder.broken.values()
    for name in [folder.study.pretrain_data.name, *folder.study.datasets]:
        manifest = folder.manifests.get(name)
        if manifest is None:
            yield f"data/{name}/manifest.json: missing or no JSON; expected the manifest of {name}"
            continue
        for key in ("schema", "kind", "digest", "spec", "splits", "classes", "sources"):
            if key not in manifest:
                yield f"data/{name}/manifest.json: lacks {key}"


def names(folder: Folder) -> Iterator[str]:
    """Find records that lie elsewhere than their names and spec say."""
    for place, record in folder.records.items():
        if record.names.get("study") not in (None, folder.study.study):
            yield f"{place}: a record of study {record.names['study']}; expected {folder.study.study}"
        wanted = _place(record)
        if wanted != place:
            yield f"{place}: its names say {wanted}; the record was moved or copied from there"
        said = {**record.names, "repetition": record.names.get("seed")}
        for key in ("backbone", "dataset", "repetition"):
            if key in record.spec and record.spec[key] != said.get(key):
                yield f"{place}: its spec says {key} {record.spec[key]}, its names {said.get(key)}"


def _place(record: Record) -> str:
    form = PLACES.get(record.stage)
    if form is None:
        return f"a stage {record.stage!r} that there is not"
    try:
        return form.format(**record.names)
    except KeyError as error:
        return f"no {error}"


def chain(folder: Folder) -> Iterator[str]:
    """Find input digests that no record or manifest of the folder has."""
    data = {name: manifest.get("digest") for name, manifest in folder.manifests.items()}
    pretrained = {record.digest for record in folder.of_stage("pretrain").values()}
    tuned = {place: record.digest for place, record in folder.of_stage("finetune").items()}
    for place, record in folder.records.items():
        name = record.names.get("dataset", folder.study.pretrain_data.name)
        if record.inputs.get("manifest") != data.get(name):
            yield (
                f"{place}: made from data of digest {_short(record.inputs.get('manifest'))}; the manifest of {name} "
                f"has {_short(data.get(name))}"
            )
        if (
            record.stage == "finetune"
            and "weights" in record.inputs
            and record.inputs["weights"] not in pretrained
        ):
            start = _short(record.inputs["weights"])
            yield f"{place}: begins from weights of digest {start}, which no pre-training has"
        if record.stage == "evaluate":
            yield from _cells(place, record, tuned)
        if record.stage == "top1":
            for cell in record.extra["cells"]:
                if cell["digest"] not in pretrained:
                    yield f"{place}: read {cell['label']}/seed{cell['seed']}, whose digest no pre-training has"


def _cells(place: str, record: Record, tuned: dict[str, str]) -> Iterator[str]:
    where = f"finetune/{record.names['dataset']}/{record.names['backbone']}"
    for cell in record.extra["cells"]:
        name = f"{cell['arm']}/seed{cell['seed']}"
        found, counted, listed = tuned.get(f"{where}/{name}"), cell["digest"], record.inputs.get(name)
        if counted != listed:
            yield f"{place}: counted {name} of digest {_short(counted)}, but its inputs name {_short(listed)}"
        if found is not None and found != counted:
            yield f"{place}: counted {name} of digest {_short(counted)}; that training's record has {_short(found)}"


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"

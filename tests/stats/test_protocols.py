"""Arms under different protocols are refused by name; mixed circumstances are noted by name."""

from pathlib import Path
from typing import Any

import pytest
from small_study import RECEIPT, Study
from test_compare import TOP1, _read, _run

from bench.errors import BenchError
from bench.record import Record, digest_of
from bench.stats.protocols import check_arms, note_rows


def _record(arm: str, receipt: dict[str, Any] | None = None, selection: str = "last", **spec: Any) -> Record:
    whole = {
        "stage": "finetune",
        "recipe": {"iterations": 80_000, "crop": 512},
        "stem": arm,
        "repetition": 0,
    } | spec
    return Record(
        stage="finetune",
        names={"study": "s", "dataset": "mfnet", "backbone": "swin", "arm": arm, "seed": 0},
        spec=whole,
        digest=digest_of(whole, {}),
        inputs={},
        metrics={},
        receipt=RECEIPT | (receipt or {}),
        selection=selection,
    )


def test_arms_may_differ_in_stem_and_repetition_alone() -> None:
    check_arms([_record("csp"), _record("rgb", repetition=1)])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            _record("rgb", recipe={"iterations": 160_000, "crop": 512}),
            r"mfnet/swin/rgb/seed0 and mfnet/swin/csp/seed0 .* recipe.iterations: 160000 and 80000",
        ),
        (_record("rgb", labels="eroded"), r"different protocols: labels: eroded and None"),
        (_record("rgb", selection="best-val"), r"selection: best-val and last; .* run one of them again"),
    ],
)
def test_arms_under_different_protocols_are_refused_by_name(other: Record, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        check_arms([_record("csp"), other])


def _second_backbone(change: Any) -> Any:
    """Change the second evaluation that is written."""
    calls = []

    def edit(extra: dict[str, Any], arrays: dict[str, Any]) -> None:
        calls.append(1)
        if len(calls) == 2:
            change(extra, arrays)

    return edit


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda extra, arrays: extra["samples"].__setitem__(1, "other"),
            r"samples differ \(\[1\]: other and s1\)",
        ),
        (lambda extra, arrays: extra["units"].__setitem__(0, "u3"), r"units differ \(\[0\]: u3 and u0\)"),
        (
            lambda extra, arrays: extra.update(classes=["ground", "car", "bush"]),
            r"classes differ \(\[2\]: bush and tree\)",
        ),
    ],
)
def test_backbones_scored_under_different_protocols_are_refused(
    study: Study, tmp_path: Path, change: Any, words: str
) -> None:
    paths = study.write(_second_backbone(change)) + study.write_top1(TOP1)
    with pytest.raises(BenchError, match=rf"mfnet/swin and mfnet/convnext were scored .* {words}"):
        _run(study, tmp_path / "out", paths)
    assert not (tmp_path / "out").exists()


def test_mixed_commits_versions_and_devices_are_noted_with_the_runs_that_have_them() -> None:
    records = [
        _record("csp", {"commit": "aaa", "device": "cpu", "packages": {"torch": "2.13"}}),
        _record("rgb", {"commit": "bbb", "device": "cuda", "packages": {"torch": "2.14"}, "dirty": True}),
    ]
    found = {(row["kind"], row["value"]): row["runs"] for row in note_rows(records)}
    assert found == {
        ("commit", "aaa"): "finetune mfnet/swin/csp/seed0",
        ("commit", "bbb"): "finetune mfnet/swin/rgb/seed0",
        ("device", "cpu"): "finetune mfnet/swin/csp/seed0",
        ("device", "cuda"): "finetune mfnet/swin/rgb/seed0",
        ("package torch", "2.13"): "finetune mfnet/swin/csp/seed0",
        ("package torch", "2.14"): "finetune mfnet/swin/rgb/seed0",
        ("uncommitted changes", "no"): "finetune mfnet/swin/csp/seed0",
        ("uncommitted changes", "yes"): "finetune mfnet/swin/rgb/seed0",
    }
    assert note_rows(records[:1]) == []
    # One commit for all, and none of them tells what ran.
    assert [row["kind"] for row in note_rows(records[1:])] == ["uncommitted changes"]


def test_published_weights_beside_our_own_recipe_are_noted() -> None:
    def pretrained(strategy: str, **spec: Any) -> Record:
        whole = {"stage": "pretrain", "strategy": strategy, "recipe": {"epochs": 300}} | spec
        return Record(
            stage="pretrain", names={"backbone": "swin", "label": strategy, "seed": 0}, spec=whole,
            digest=digest_of(whole, {}), inputs={}, metrics={}, receipt=RECEIPT,
        )  # fmt: skip

    rows = note_rows([pretrained("csp"), pretrained("rgb", published={"timm": "swin.ms_in1k"})])
    assert [row["kind"] for row in rows] == ["recipe of swin"] * 2
    assert "a difference between arms may be one between recipes" in rows[0]["reason"]
    assert [row["value"] for row in rows] == ["trained here", "published weights swin.ms_in1k"]
    assert note_rows([pretrained("csp"), pretrained("rgb")]) == []
    # Of two recipes of our own, the settings that differ.
    longer = pretrained("csp", recipe={"epochs": 600, "crop": 224})
    rows = note_rows([longer, pretrained("rgb", recipe={"epochs": 300, "crop": 224})])
    assert [row["value"] for row in rows] == ["epochs 600", "epochs 300"]


def test_notes_stand_apart_from_the_tables_of_scores(study: Study, tmp_path: Path) -> None:
    paths = study.write() + study.write_top1(TOP1)
    folder = tmp_path / "finetune"
    study.record("finetune", {"dataset": "mfnet", "backbone": "swin", "arm": "csp", "seed": 0}, {}, folder)
    text = (folder / "record.json").read_text().replace('"abc"', '"def"')
    (folder / "record.json").write_text(text)
    _run(study, tmp_path / "out", paths, records=[folder])
    rows = _read(tmp_path / "out" / "notes.csv")
    assert [(row["kind"], row["value"], row["runs"].count(";")) for row in rows] == [
        ("commit", "abc", 3),
        ("commit", "def", 0),
    ]

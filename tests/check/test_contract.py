"""Each breach of the contract is found, and said in words of its own."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.check.contract import CONTRACT, check_folder, report
from bench.cli import main
from bench.errors import BenchError, RequestError
from bench.record import digest_of, sha256_file

TUNED = "finetune/mfnet/convnext_mini/csp/seed1"
COUNTED = "evaluate/mfnet/convnext_mini"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def signed(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Return `change` followed by the digest that then follows from spec and inputs."""

    def both(record: dict[str, Any]) -> None:
        change(record)
        record["digest"] = digest_of(record["spec"], record["inputs"])

    return both


def recount(copy: Path, change: Callable[[np.ndarray], None], *, scores: bool = True) -> None:
    """Change the counts of MFNet, with the SHA-256 that the record names, and its metrics too where asked."""
    from bench.metrics import scores as of_counts

    path, record = copy / COUNTED / "counts.npz", copy / COUNTED / "record.json"
    arrays = dict(np.load(path))
    change(arrays["counts/full"])
    np.savez_compressed(path, **arrays)
    edit(record, lambda r: r["extra"].update(counts_sha256=sha256_file(path)))
    if scores:
        for index, cell in enumerate(arrays["counts/full"]):
            own = lambda r, i=index, c=cell: r["metrics"][str(i)].update(  # noqa: E731
                full=of_counts(c.sum(axis=0), r["extra"]["classes"])
            )
            edit(record, own)


def move_pixel(counts: np.ndarray) -> None:
    """Take one right pixel of the first cell's first sample for another class."""
    counts[0, 0, 0, 0] -= 1
    counts[0, 0, 0, 1] += 1


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def lose_a_field(copy: Path) -> None:
    edit(copy / TUNED / "record.json", lambda record: record.pop("receipt"))


def another_schema(copy: Path) -> None:
    edit(copy / TUNED / "record.json", lambda record: record.update(schema=9))


def edit_a_spec(copy: Path) -> None:
    edit(copy / TUNED / "record.json", lambda record: record["spec"]["recipe"].update(iterations=12))


def edit_a_spec_and_its_digest(copy: Path) -> None:
    edit(copy / TUNED / "record.json", signed(lambda record: record["spec"]["recipe"].update(iterations=12)))


def train_on_other_data(copy: Path) -> None:
    edit(copy / TUNED / "record.json", signed(lambda record: record["inputs"].update(manifest="f" * 64)))


def start_from_unknown_weights(copy: Path) -> None:
    edit(copy / TUNED / "record.json", signed(lambda record: record["inputs"].update(weights="e" * 64)))


def remove_a_run(copy: Path) -> None:
    (copy / TUNED / "record.json").unlink()


def add_a_run(copy: Path) -> None:
    other = copy / "finetune/mfnet/convnext_mini/csp/seed7"
    other.mkdir()
    (other / "record.json").write_bytes((copy / TUNED / "record.json").read_bytes())


def swap_seeds(copy: Path) -> None:
    edit(copy / COUNTED / "record.json", lambda record: record["extra"]["cells"][0].update(seed=5))


def edit_the_counts_file(copy: Path) -> None:
    path = copy / COUNTED / "counts.npz"
    arrays = dict(np.load(path))
    move_pixel(arrays["counts/full"])
    np.savez_compressed(path, **arrays)


def counts_of_another_type(copy: Path) -> None:
    path = copy / COUNTED / "counts.npz"
    np.savez_compressed(path, **{key: value.astype(np.float32) for key, value in np.load(path).items()})


def counts_and_their_digest(copy: Path) -> None:
    recount(copy, move_pixel, scores=False)


def counts_digest_and_scores(copy: Path) -> None:
    recount(copy, move_pixel)


def copy_an_arm(copy: Path) -> None:
    def same(counts: np.ndarray) -> None:
        counts[2] = counts[0]

    recount(copy, same)


def leave_out_a_sample(copy: Path) -> None:
    edit(
        copy / COUNTED / "record.json", lambda record: record["extra"]["samples"].__setitem__(0, "elsewhere")
    )


def evaluate_a_sample_twice(copy: Path) -> None:
    def twice(record: dict[str, Any]) -> None:
        record["extra"]["samples"][1] = record["extra"]["samples"][0]

    edit(copy / COUNTED / "record.json", twice)


def test_on_training_data(copy: Path) -> None:
    def both(manifest: dict[str, Any]) -> None:
        manifest["splits"]["train"].append(manifest["splits"]["test"][0])

    edit(copy / "data/mfnet/manifest.json", both)


test_on_training_data.__test__ = False  # type: ignore[attr-defined]


def raise_a_score(copy: Path) -> None:
    path = copy / "compare" / "scores.csv"
    with path.open() as stream:
        row = next(row for row in csv.DictReader(stream) if row["primary"] == "true")
    replace_in(path, row["value"], "0.99")


def flatter_a_verdict(copy: Path) -> None:
    replace_in(copy / "compare" / "verdicts.csv", "not comparable", "reproduced")


def change_the_papers_number(copy: Path) -> None:
    replace_in(copy / "paper" / "reported.csv", "56.9,56.9", "46.9,46.9")


def flatter_a_table(copy: Path) -> None:
    replace_in(copy / "tables" / "main.csv", "not comparable", "reproduced")


def take_the_stamp_away(copy: Path) -> None:
    replace_in(copy / "tables" / "main.md", "MINIATURE", "FULL SIZE")


def lose_a_figure(copy: Path) -> None:
    (copy / "figures" / "forest.png").unlink()


def add_a_file(copy: Path) -> None:
    (copy / "notes.txt").write_text("added\n")


def another_margin(copy: Path) -> None:
    replace_in(copy / "study.yaml", "margin: 0.005", "margin: 0.5")


def another_recipe_in_the_study(copy: Path) -> None:
    replace_in(copy / "study.yaml", "iterations: 6", "iterations: 60")


TAMPERED = [
    (lose_a_field, "schema", f"{TUNED}/record.json: not a record of this harness"),
    (another_schema, "schema", "record schema 9; this version reads 1"),
    (edit_a_spec, "schema", "the digest does not follow from the record's own spec"),
    (edit_a_spec_and_its_digest, "arms", f"{TUNED}: recipe.iterations is 12, but 6 in"),
    (edit_a_spec_and_its_digest, "protocol", "its spec says recipe.iterations 12; the study file says 6"),
    (
        train_on_other_data,
        "chain",
        f"{TUNED}: made from data of digest ffffffffffff; the manifest of mfnet has",
    ),
    (
        start_from_unknown_weights,
        "chain",
        "begins from weights of digest eeeeeeeeeeee, which no pre-training has",
    ),
    (remove_a_run, "completeness", f"{TUNED}: no record; the study asks for this run"),
    (add_a_run, "completeness", "csp/seed7: the study does not ask for this run"),
    (add_a_run, "names", f"csp/seed7: its names say {TUNED}"),
    (add_a_run, "arms", "seed7: the same spec and inputs as"),
    (swap_seeds, "seeds", "rgb-repeat has the seeds [1, 5]; the study declares 0 to 1"),
    (edit_the_counts_file, "counts", f"{COUNTED}/counts.npz: SHA-256"),
    (counts_of_another_type, "counts", "counts/full is float32 (4, 6, 9, 9); expected int64"),
    (counts_and_their_digest, "metrics", "rgb-repeat/seed0, full: mIoU is recorded as"),
    (counts_digest_and_scores, "comparison", "compare/scores.csv, line"),
    (
        copy_an_arm,
        "differences",
        "mfnet/convnext_mini/rgb-repeat/seed0 and mfnet/convnext_mini/csp/seed0 have bit-",
    ),
    (leave_out_a_sample, "samples", "not evaluated though the manifest's split test: mf00000"),
    (leave_out_a_sample, "samples", "evaluated and not in the manifest's split test: elsewhere"),
    (evaluate_a_sample_twice, "samples", "sample mf00000 is evaluated twice"),
    (test_on_training_data, "samples", "1 evaluated samples are in the training split, such as mf00000"),
    (raise_a_score, "comparison", "value is 0.99; the counts give"),
    (flatter_a_verdict, "comparison", "verdict is reproduced; the counts give not comparable"),
    (change_the_papers_number, "comparison", "compare/verdicts.csv, line"),
    (flatter_a_table, "tables", "tables/main.csv: line"),
    (take_the_stamp_away, "tables", "tables/main.md: line 1 does not follow from the comparison: found"),
    (lose_a_figure, "figures", "figures/forest.png: missing"),
    (add_a_file, "seal", "notes.txt: added since it was published"),
    (another_margin, "comparison", "compare/verdicts.csv, line"),
    (another_recipe_in_the_study, "protocol", "the study file says 60"),
]


@pytest.fixture(scope="module")
def outcome(
    published: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable], dict[str, list[str]]]:
    """What the checks find after a tampering: each tampering is examined once."""
    import shutil

    known: dict[str, dict[str, list[str]]] = {}

    def examined(tamper: Callable[[Path], None]) -> dict[str, list[str]]:
        if tamper.__name__ not in known:
            copy = Path(shutil.copytree(published, tmp_path_factory.mktemp("tampered") / "smoke"))
            tamper(copy)
            known[tamper.__name__] = {check.name: findings for check, findings in check_folder(copy)}
        return known[tamper.__name__]

    return examined


def test_a_published_study_keeps_the_contract(published: Path) -> None:
    results = check_folder(published)
    assert [(check.name, findings) for check, findings in results if findings] == []
    assert report(results).count("ok ") == len(CONTRACT)


@pytest.mark.parametrize(("tamper", "check", "message"), TAMPERED, ids=lambda v: getattr(v, "__name__", None))
def test_tampering_is_found_by_name(outcome, tamper, check: str, message: str) -> None:
    found = outcome(tamper)
    assert any(message in sentence for sentence in found[check]), found


def test_every_check_but_none_other_is_broken_by_some_tampering() -> None:
    assert {check for _, check, _ in TAMPERED} == {check.name for check in CONTRACT}


def test_every_changed_file_breaks_the_seal(outcome) -> None:
    assert "paper/reported.csv: changed since it was published" in outcome(change_the_papers_number)["seal"]
    assert "figures/forest.png: removed since it was published" in outcome(lose_a_figure)["seal"]


def test_a_folder_of_anothers_needs_a_study_and_lacks_no_seal(copy: Path, tmp_path: Path) -> None:
    for name in ("study.yaml", "published.json"):
        (copy / name).rename(tmp_path / name)
    with pytest.raises(RequestError, match=r"holds no study\.yaml; say with --study FILE"):
        check_folder(copy)
    assert not [findings for _, findings in check_folder(copy, tmp_path / "study.yaml") if findings]


def test_a_study_that_cannot_be_read_is_refused(copy: Path) -> None:
    replace_in(copy / "study.yaml", "margin:", "margn:")
    with pytest.raises(BenchError, match="margn"):
        check_folder(copy)


def test_the_command_says_which_checks_are_broken(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(copy)]) == 0
    lose_a_figure(copy)
    assert main(["check", str(copy)]) == 1
    printed = capsys.readouterr()
    assert "BROKEN  figures" in printed.out and "figures/forest.png: missing" in printed.out
    assert "breaks the contract: figures, seal" in printed.err
    assert main(["check", str(copy / "nowhere")]) == 2

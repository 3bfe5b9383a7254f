"""The catalogue says everything, says it once, and what can be derived from image sizes is derived."""

import json
import re

import pytest

from bench.catalog.entry import SUFFIXES, Entry
from bench.catalog.index import CATALOG, OWN_DATA
from bench.catalog.isaid import ISAID
from bench.catalog.mfnet import MFNET
from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT, POTSDAM_SPLITS
from bench.data.listing import access, list_datasets, show_dataset
from bench.errors import RequestError

every = pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
targets = pytest.mark.parametrize(
    "entry",
    [entry for entry in CATALOG.values() if entry.kind == "segmentation"],
    ids=lambda entry: entry.name,
)


@every
def test_an_entry_is_complete(entry: Entry):
    assert entry.where.startswith("https://") and entry.terms and entry.citation and entry.unit
    assert entry.expected_counts and entry.archives
    assert entry.classes or entry.class_note
    assert all(channel.unit for channel in entry.channels)
    assert set(entry.default_channels) <= {channel.name for channel in entry.channels}
    assert entry.defects and all(defect.rule and defect.what and defect.source for defect in entry.defects)


@every
def test_names_are_given_once(entry: Entry):
    for names in (
        [channel.name for channel in entry.channels],
        [label.name for label in entry.classes],
        [label.colour for label in entry.classes],
        [geometry.name for geometry in entry.geometries],
        [defect.rule for defect in entry.defects],
        [*entry.split_protocols, *entry.label_variants[1:], *entry.rules, *entry.groups],
    ):
        assert len(names) == len(set(names)), names


@targets
def test_every_protocol_is_said_in_a_sentence(entry: Entry):
    named = [*entry.split_protocols, *entry.groups, *entry.rules, *(item.name for item in entry.geometries)]
    named += entry.label_variants if len(entry.label_variants) > 1 else ()
    assert set(entry.protocols) == set(named)
    assert all(len(sentence) > 20 for sentence in entry.protocols.values())
    assert entry.split_protocols[0] == "official"


@every
def test_archives_have_known_suffixes_proper_digests_and_places_of_their_own(entry: Entry):
    for form in entry.forms:
        assert form.where and form.terms
        archives = (*form.archives, *((form.bundle,) if form.bundle else ()))
        for archive in archives:
            assert archive.path.endswith(SUFFIXES) and not archive.path.startswith("/")
            assert archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5)
            assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
            assert archive.url is None or archive.url.startswith("https://")
            assert archive.password is None or archive.password.startswith("BENCH_")
        # Two archives in one folder could overwrite each other's files.
        assert len({archive.folder for archive in form.archives}) == len(form.archives)


@every
def test_an_archive_becomes_the_standard_only_by_a_digest_or_by_what_it_holds(entry: Entry):
    for form in entry.forms:
        for archive in form.archives:
            assert archive.md5 or archive.sha256 or archive.holds, archive.path
            for kind in archive.holds:
                # An archive serves one split or all of them: it never holds more of a kind than there are images.
                assert re.compile(kind.pattern) and 1 <= kind.at_least <= sum(entry.expected_counts.values())


def test_the_sentences_of_the_catalogue_say_what_is_done_and_what_is_not_known():
    assert (
        "nearest pixel that has one, which is not the authors' Telea"
        in CATALOG["pst900"].protocols["thermal-inpaint"]
    )
    assert "17/6/14 is reported too, but no source names its tiles" in POTSDAM.protocols["18-6"]
    assert (
        "(mmseg-patches)" in ISAID.protocols["896/512"] and "(mmseg-stitched)" in ISAID.protocols["896/512"]
    )
    assert "by hand, for the id of the file in it is not known" in MFNET.where


def test_the_forms_of_isaid_lead_to_the_same_folders():
    # Preparation looks below these for images and masks, whatever form they came in.
    wanted = {f"{split}/{kind}" for split in ("train", "val") for kind in ("images", "Semantic_masks")}
    for form in ISAID.forms:
        assert {"/".join(archive.folder.split("/")[:2]) for archive in form.archives} == wanted


def patches(side: int, patch: int, stride: int) -> int:
    """Count patches along one side by laying them down: the last one is shifted back inside."""
    count, start = 1, 0
    while start + patch < side:
        start, count = start + stride, count + 1
    return count


@pytest.mark.parametrize("geometry", POTSDAM.geometries, ids=lambda geometry: geometry.name)
def test_the_patch_counts_of_potsdam_follow_from_its_tiles_alone(geometry):
    assert geometry.name == f"{geometry.patch}/{geometry.stride}"
    along = patches(6000, geometry.patch, geometry.stride)
    for split, count in geometry.counts.items():
        assert count == len(POTSDAM_SPLIT[split]) * along**2


def test_the_published_patch_counts_are_those_of_the_literature():
    # 24 x 144 and 14 x 144 (12 a side); 24 x 529 and 14 x 529 (23 a side); iSAID as mmsegmentation states.
    assert [item.counts for item in POTSDAM.geometries] == [
        {"train": 3_456, "test": 2_016},
        {"train": 12_696, "test": 7_406},
    ]
    (geometry,) = ISAID.geometries
    assert (geometry.name, geometry.counts) == ("896/512", {"train": 33_978, "val": 11_644})


def test_the_split_protocols_of_potsdam_are_tiles_and_disjoint():
    assert set(POTSDAM_SPLITS) == set(POTSDAM.split_protocols)
    official = {tile for tiles in POTSDAM_SPLIT.values() for tile in tiles}
    assert len(official) == 38
    counts = {
        name: {split: len(tiles) for split, tiles in splits.items()}
        for name, splits in POTSDAM_SPLITS.items()
    }
    assert counts == {
        "official": {"train": 24, "test": 14},
        "without-7_10": {"train": 23, "test": 14},
        "without-7_10-val-2_10": {"train": 22, "val": 1, "test": 14},
        "18-6": {"train": 18, "test": 6},
    }
    for splits in POTSDAM_SPLITS.values():
        tiles = [tile for those in splits.values() for tile in those]
        assert len(tiles) == len(set(tiles)) and set(tiles) <= official
    # SSRS evaluates on six of the labelled tiles and never on the 14 of the benchmark.
    assert not set(POTSDAM_SPLITS["18-6"]["test"]) & set(POTSDAM_SPLIT["test"])


def test_the_groups_of_mfnet_make_up_its_test_split():
    day, night = (
        int(re.search(r"the (\d+) frames", MFNET.protocols[group])[1]) for group in ("day", "night")
    )
    assert day + night == MFNET.expected_counts["test"]


@every
def test_every_rule_that_preparation_applies_is_a_known_defect(entry: Entry, drawn):
    applied = {
        item["rule"] for item in json.loads((drawn / entry.name / "manifest.json").read_text())["handled"]
    }
    # Words in braces stand for a channel, a label variant or what was done.
    known = [re.sub(r"\{\w+\}", "[a-z_-]+", defect.rule) for defect in entry.defects]
    assert [rule for rule in sorted(applied) if not any(re.fullmatch(form, rule) for form in known)] == []


# What a person sees


def test_the_table_names_every_dataset_and_what_lies_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "pst900").mkdir()
    (tmp_path / "pst900" / "PST900_RGBT_Dataset.zip").touch()
    (tmp_path / "isaid").mkdir()
    (tmp_path / "isaid" / "dotav1.0_images_val.tar.gz").touch()
    header, _, *rows = list_datasets().splitlines()
    assert header.split() == ["name", "dataset", "kind", "channels", "classes", "archives", "at", "hand"]
    found = {row.split()[0]: row for row in rows}
    assert list(found) == [*CATALOG, *OWN_DATA]
    assert found["pst900"].endswith("6         5         fetchable                  1 of 1")
    assert found["isaid"].endswith("1 of 4 (mirror)")
    assert found["imagenet1k"].endswith("by hand                    0 of 3")
    monkeypatch.delenv("BENCH_DATA")
    assert list_datasets().count("BENCH_DATA unset") == len(CATALOG)


def test_access_is_said_as_it_is():
    assert {name: access(entry) for name, entry in (CATALOG | OWN_DATA).items()} == {
        "imagenet1k": "by hand",
        "isaid": "fetchable",
        "mfnet": "by hand",
        "pst900": "fetchable",
        "potsdam": "fetchable with a password",
        "folder": "your own",
        "folders": "your own",
    }


@pytest.mark.parametrize("entry", (CATALOG | OWN_DATA).values(), ids=lambda entry: entry.name)
def test_the_page_of_a_dataset_leaves_nothing_out(entry: Entry, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    page = " ".join(show_dataset(entry.name).split())
    said = [entry.title, entry.where, entry.terms, entry.citation, entry.class_note]
    said += [word for channel in entry.channels for word in (channel.name, channel.unit)]
    said += [f"{i} {c.name} " for i, c in enumerate(entry.classes)]
    said += entry.protocols.values()
    said += [word for defect in entry.defects for word in (defect.rule, defect.what, defect.source)]
    for form in entry.forms:
        for archive in (*form.archives, *((form.bundle,) if form.bundle else ())):
            said += [archive.path, archive.md5, archive.sha256, archive.url, archive.password]
            said += [f"{archive.size:,} bytes"] if archive.size else []
    said += [f"{count:,} in {split}" for item in entry.geometries for split, count in item.counts.items()]
    for words in filter(None, said):
        assert words in page, words


def test_no_line_of_a_page_is_broken_but_for_addresses():
    for name in CATALOG | OWN_DATA:
        assert all(len(line) <= 110 or "https://" in line for line in show_dataset(name).splitlines())


def test_a_dataset_that_is_not_there_is_a_wrong_request():
    with pytest.raises(
        RequestError, match=r"isadi: no dataset of the catalogue; there are imagenet1k, isaid, .*folders"
    ):
        show_dataset("isadi")

"""Data of a user's own: the two kinds of folders that a study may name as its source."""

from bench.catalog.entry import BLUE, GREEN, RED, Entry

FOLDER = Entry(
    name="folder",
    title="a folder of scenes with labels",
    kind="segmentation",
    channels=(),
    default_channels=(),
    class_note="named by the dataset.yaml that the study gives as `description`",
    unit="named by the description",
    where="your own files, below BENCH_DATA at the study's `path`; a folder a modality, one of labels, and split "
    "lists (config/README.md, config/datasets/crack.yaml)",
    terms="your own",
)
FOLDERS = Entry(
    name="folders",
    title="folders of photographs, one a synset",
    kind="classification",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    class_note="the folders' names, sorted; train and val have the same",
    where="your own files, below BENCH_DATA at the study's `path`: {train,val}/<synset>/*.JPEG; an unpacked ImageNet "
    "with val sorted into synsets is read so too",
    terms="your own",
)

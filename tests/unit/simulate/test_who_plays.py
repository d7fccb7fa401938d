"""Who plays: the sample pack, folders as sites, one data set dealt out, classes that no site sees."""

import re

import pytest
from PIL import Image

from genepool_client.pictures.images import load_images
from genepool_client.simulate import partition
from genepool_client.simulate.scenario import Options, cast, prepare
from genepool_protocol.wire.errors import InvalidInput


def write_set(folder, classes, each):
    for number in range(classes):
        inner = folder / f"c{number}"
        inner.mkdir(parents=True)
        for index in range(each):
            Image.new("RGB", (8, 8), (number * 20, index * 9 % 256, 0)).save(inner / f"{index:03d}.png")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_sample_pack_gives_six_domains_and_tasks_that_no_site_has_seen(tmp_path):
    scenario = cast(Options(6, tmp_path), tmp_path / "data")
    assert [site.name for site in scenario.sites] == [
        "animals",
        "clothing",
        "digits",
        "hiragana",
        "letters",
        "textures",
    ]
    assert len(scenario.tasks) == 6
    seen = {(site.name, name) for site in scenario.sites for name in names(site.folder)}
    for task in scenario.tasks:
        assert not set(names(task)) & {name for _, name in seen}


def test_more_sites_than_domains_share_the_images_without_overlap(tmp_path):
    scenario = cast(Options(13, tmp_path), tmp_path / "data")
    assert len({site.name for site in scenario.sites}) == len(scenario.sites) == 13
    files = [path.resolve() for site in scenario.sites for path in site.folder.glob("*/*.png")]
    assert len(files) == len(set(files)) == 4182


def test_too_many_sites_for_the_images_are_refused(tmp_path):
    write_set(tmp_path / "a", 4, 5)
    with pytest.raises(InvalidInput) as caught:
        cast(Options(4, tmp_path, data=(tmp_path / "a",)), tmp_path / "data")
    assert caught.value.reason == "OPTION_INVALID"


def test_held_out_classes_are_at_no_site(tmp_path):
    write_set(tmp_path / "a", 6, 4)
    write_set(tmp_path / "b", 3, 4)
    scenario = cast(Options(2, tmp_path, data=(tmp_path / "a", tmp_path / "b")), tmp_path / "data")
    assert [names(site.folder) for site in scenario.sites] == [["c0", "c1", "c2", "c3"], ["c0", "c1", "c2"]]
    assert [names(task) for task in scenario.tasks] == [["c4", "c5"]]
    assert load_images(scenario.tasks[0], 8).classes == ["c4", "c5"]


def test_data_without_a_class_to_spare_needs_tasks(tmp_path):
    write_set(tmp_path / "b", 3, 4)
    with pytest.raises(InvalidInput) as caught:
        cast(Options(1, tmp_path, data=(tmp_path / "b",)), tmp_path / "data")
    assert caught.value.reason == "OPTION_INVALID"


@pytest.mark.parametrize("rule", ["dirichlet:1.0", "classes:2"])
def test_dealing_gives_every_image_to_exactly_one_site(tmp_path, rule):
    write_set(tmp_path / "a", 4, 30)
    sites = partition.dealt(tmp_path / "a", 3, rule, tmp_path / "dealt", rng=1)
    files = [path.resolve() for site in sites for path in site.folder.glob("*/*.png")]
    assert len(sites) == 3
    assert len(files) == len(set(files)) == 120


@pytest.mark.parametrize("rule", ["dirichlet:0", "dirichlet:x", "classes:1", "classes:99", "shards:2"])
def test_an_unknown_rule_is_refused(tmp_path, rule):
    write_set(tmp_path / "a", 4, 3)
    with pytest.raises(InvalidInput) as caught:
        partition.dealt(tmp_path / "a", 2, rule, tmp_path / "dealt")
    assert caught.value.reason == "OPTION_INVALID"


def test_dealing_takes_one_data_set(tmp_path):
    for name in "ab":
        write_set(tmp_path / name, 6, 3)
    with pytest.raises(InvalidInput) as caught:
        cast(Options(2, tmp_path, data=(tmp_path / "a", tmp_path / "b"), rule="dirichlet:1"), tmp_path / "data")
    assert caught.value.reason == "OPTION_INVALID"


def test_a_missing_data_folder_is_named(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        cast(Options(2, tmp_path, data=(tmp_path / "nowhere",)), tmp_path / "data")
    assert caught.value.reason == "PATH_MISSING"
    assert "nowhere" in caught.value.message


def test_an_earlier_report_is_replaced_and_nothing_else_is_ever_cleared(tmp_path):
    report = tmp_path / "report"
    (prepare(report) / "left").touch()
    (report / "report.html").touch()
    assert not any(prepare(report).iterdir())
    assert not (report / "report.html").exists()
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").touch()
    with pytest.raises(InvalidInput) as caught:
        prepare(precious)
    assert caught.value.reason == "PATH_NOT_EMPTY"
    assert (precious / "chapter.tex").exists()


def test_site_names_are_those_that_a_pool_accepts_and_none_comes_twice():
    texts = ["Hospital A", "__x__", "é", "ü", "日本", "a" * 99, "A b", "a_b", "\udce9", "images", "images"]
    names = partition.site_names(texts)
    assert names[:2] == ["hospital-a", "x"]
    assert len(set(names)) == len(texts)
    assert all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,53}[a-z0-9])?", name) for name in names)
    assert partition.site_names(texts) == names


def test_sets_are_dealt_out_each_to_its_part_of_the_sites(tmp_path):
    for name in ("a", "b"):
        write_set(tmp_path / "sets" / name, 6, 12)
    scenario = cast(Options(5, tmp_path, data=(tmp_path / "sets",), rule="dirichlet:5"), tmp_path / "data")
    assert [site.name for site in scenario.sites] == ["a-000", "a-001", "a-002", "b-000", "b-001"]
    assert all(len(load_images(site.folder, 8).classes) >= 2 for site in scenario.sites)


def test_a_data_set_of_splits_is_one_data_set(tmp_path):
    for split in ("train", "test"):
        write_set(tmp_path / "digits" / split, 6, 4)
    assert partition.data_folders([tmp_path / "digits"]) == [tmp_path / "digits"]
    (site,) = cast(Options(1, tmp_path, data=(tmp_path / "digits",)), tmp_path / "data").sites
    assert len(load_images(site.folder, 8).labels) == 4 * 4


def test_tasks_that_are_given_count_beside_the_sample_pack_too(tmp_path):
    write_set(tmp_path / "mine", 2, 2)
    played = cast(Options(2, tmp_path, tasks=(tmp_path / "mine",)), tmp_path / "data")
    assert played.tasks == (tmp_path / "mine",)
    assert [site.name for site in played.sites] == ["animals", "clothing"]

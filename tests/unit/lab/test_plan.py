"""Who sees which classes, and what an episode is made of."""

import json
from dataclasses import replace

import numpy as np
import pytest

from genepool_lab.benchmark import plan
from genepool_lab.benchmark.domains import ROLES_FILE, load
from genepool_lab.benchmark.tasks import episodes, tasks
from genepool_protocol.learngene.blueprint import bundled_folder, parse_blueprint
from genepool_protocol.learngene.size import Size
from genepool_protocol.wire.errors import InvalidInput
from tests.support.images import write_classes

BLUEPRINT = parse_blueprint((bundled_folder("nano-32") / "blueprint.json").read_bytes())
PLAN = replace(plan.quick(), draws=3, shots=(1, 5, 20), mixtures=2, test=6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, classes in (("a", 12), ("b", 10), ("near-a", 6), ("far", 5), ("by", 7)):
        write_classes(folder / name, {f"{name}{i:02d}": 30 for i in range(classes)}, rng)
    roles = {"a": "site", "b": "site", "near-a": "uncovered", "far": "uncovered", "by": "bystander"}
    said = {name: {"role": role, "relative": "a" if name == "near-a" else ""} for name, role in roles.items()}
    (folder / ROLES_FILE).write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def domains(data):
    return load([data], BLUEPRINT, PLAN, data)


def test_no_class_of_a_task_is_at_any_site(domains):
    seen = {name for domain in domains if domain.site for name in domain.site.classes}
    unseen = {name for domain in domains if domain.unseen for name in domain.unseen.classes}
    assert seen
    assert unseen
    assert not seen & unseen


def test_tasks_are_covered_mixed_related_and_unrelated(domains):
    found = {task.name: (task.kind, task.right) for task in tasks(domains, PLAN)}
    assert found == {
        "a": ("covered", ("a",)),
        "b": ("covered", ("b",)),
        "a + b": ("mixture", ("a", "b")),
        "b + a": ("mixture", ("b", "a")),
        "near-a": ("related", ()),
        "far": ("unrelated", ()),
    }


def test_support_sets_are_nested_and_share_one_test_set_that_is_in_none_of_them(domains):
    for task in tasks(domains, PLAN):
        for draw in range(PLAN.draws):
            own = [one for one in episodes(task, domains, PLAN) if one.draw == draw]
            assert [one.shots for one in own] == [1, 5, 20]
            assert len({(one.test, one.test_labels) for one in own}) == 1
            assert set(own[0].support) < set(own[1].support) < set(own[2].support)
            assert not set(own[2].support) & set(own[2].test)
            assert len(own[1].support) == 5 * len(set(own[1].support_labels))
            assert set(own[0].support_labels) == set(own[0].test_labels) == set(range(5))


def test_a_mixture_has_classes_of_both_domains(domains):
    task = next(task for task in tasks(domains, PLAN) if task.kind == "mixture")
    for episode in episodes(task, domains, PLAN):
        assert {name for name, _ in episode.support} == {"a", "b"}


def test_the_labels_of_an_episode_are_those_of_the_images(domains):
    banks = {domain.name: domain.unseen for domain in domains if domain.unseen is not None}
    for task in tasks(domains, PLAN):
        for episode in episodes(task, domains, PLAN):
            named = {}
            for (name, index), label in zip(
                (*episode.support, *episode.test), (*episode.support_labels, *episode.test_labels), strict=True
            ):
                named.setdefault(label, set()).add(banks[name].classes[banks[name].labels[index]])
            assert all(len(classes) == 1 for classes in named.values())
            assert len({next(iter(classes)) for classes in named.values()}) == len(named)


def test_draws_differ_and_are_the_same_every_time(domains):
    task = tasks(domains, PLAN)[0]
    assert episodes(task, domains, PLAN) == episodes(task, domains, PLAN)
    assert len({one.support for one in episodes(task, domains, PLAN) if one.shots == 1}) == PLAN.draws


def test_the_sample_pack_gives_five_sites_a_bystander_and_a_domain_that_nobody_covers(tmp_path):
    domains = load([], BLUEPRINT, PLAN, tmp_path)
    assert [domain.role for domain in domains].count("site") == 5
    assert [domain.name for domain in domains if domain.role != "site"] == ["hiragana", "thai"]
    assert {task.kind for task in tasks(domains, PLAN)} == {"covered", "mixture", "unrelated"}


def test_data_that_gives_one_site_is_refused(data):
    with pytest.raises(InvalidInput) as caught:
        load([data / "a"], BLUEPRINT, PLAN, data)
    assert caught.value.reason == "OPTION_INVALID"


def test_sizes_default_to_the_blueprint_s_own_and_others_are_refused():
    settled = plan.with_sizes(plan.full(), BLUEPRINT)
    assert settled.size == BLUEPRINT.reference
    assert len(settled.sizes) >= 8
    with pytest.raises(InvalidInput):
        plan.with_sizes(replace(PLAN, size=Size(99, 1)), BLUEPRINT)


def test_a_file_of_roles_that_makes_no_sense_is_refused(data, tmp_path):
    for text in ("no json", '["a"]', '{"a": {"role": "site"}}', '{"a": {"role": "king", "relative": ""}}'):
        (tmp_path / ROLES_FILE).write_text(text)
        with pytest.raises(InvalidInput) as caught:
            load([tmp_path], BLUEPRINT, PLAN, data)
        assert caught.value.reason == "FILE_MALFORMED"

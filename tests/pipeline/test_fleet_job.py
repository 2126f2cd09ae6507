"""A recipe under several profiles trains its dense network once."""

import pytest
import yaml
from pipeline.small_recipe import RECIPE

from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline.fleet_job import take_over_training
from deploy_prune.pipeline.recipe import read_recipe
from deploy_prune.pipeline.run import make_stages
from deploy_prune.pipeline.runner import stage_keys
from deploy_prune.pipeline.settings import RunSettings
from deploy_prune.pipeline.store import Record, RunStore


@pytest.fixture
def settings(tmp_path):
    """The same recipe for two devices, the second with other limits of measuring."""
    pytest.importorskip("lightning_fabric", reason="the extra vision is not installed")
    found = []
    for name, max_s in (("one", 1.0), ("two", 2.0)):
        profile = load_profile("cpu-onnxruntime").model_dump(mode="json")
        profile["measuring"]["max_s"] = max_s
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**profile, "name": name}))
        (tmp_path / "recipe.yml").write_text(yaml.safe_dump({**RECIPE, "profile": str(tmp_path / f"{name}.yaml")}))
        found.append(RunSettings.of(read_recipe(tmp_path / "recipe.yml")))
    return found


def finish(store, stage, key):
    """A finished stage as a run leaves it."""
    draft = store.open_draft(stage, key)
    (draft.out / "file").write_text(stage)
    store.commit(draft, Record(stage, key, "made for this test", 1.0))


def test_what_no_device_changes_is_taken_over_and_nothing_else(tmp_path, settings):
    first, second = settings
    store = RunStore(tmp_path / "one")
    for stage, key in stage_keys(make_stages(first), first.facts()).items():
        if stage in ("data", "train", "sparse", "baseline"):
            finish(store, stage, key)
    take_over_training(second, tmp_path / "two")
    there = tmp_path / "two"
    assert {path.name for path in there.iterdir() if path.is_dir()} == {"data", "train", "sparse"}
    assert (there / "train" / "file").samefile(tmp_path / "one" / "train" / "file")


def test_a_network_trained_otherwise_is_left_alone(tmp_path, settings):
    first, second = settings
    keys = stage_keys(make_stages(first), first.facts())
    finish(RunStore(tmp_path / "one"), "data", keys["data"])
    finish(RunStore(tmp_path / "one"), "train", "0" * 64)
    take_over_training(second, tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").iterdir() if path.is_dir()} == {"data"}

import pickle
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from torch import nn

from deploy_prune.errors import InputError, PlanError
from deploy_prune.tasks.architecture import architecture
from deploy_prune.tasks.kept_module import check_trainable, class_count, refuse_rebuild
from deploy_prune.tasks.ultralytics import pruned_trainer


def make_trainer(data, tmp_path, **overrides):
    settings = {"model": "yolov8n.yaml", "data": str(data), "project": str(tmp_path), "device": "cpu"}
    return pruned_trainer("detect")(overrides=settings | {"plots": False} | overrides)


def test_trainer_keeps_the_very_module_and_makes_it_trainable(data, narrow, tmp_path):
    narrow.requires_grad_(False)
    trainer = make_trainer(data, tmp_path)
    assert trainer.get_model(cfg="yolov8n.yaml", weights=narrow) is narrow
    assert all(parameter.requires_grad for parameter in narrow.parameters())


def test_trainer_needs_a_network(data, tmp_path):
    with pytest.raises(InputError, match=r"got none; load one: YOLO\('pruned.pt'\).train\(trainer=…\)"):
        make_trainer(data, tmp_path).get_model(cfg="yolov8n.yaml")


def test_trainer_refuses_another_class_count(data, narrow, tmp_path):
    narrow.model[-1].nc = 7
    with pytest.raises(InputError, match=r"tells 7 classes apart and .*data.yaml has 10"):
        make_trainer(data, tmp_path).get_model(weights=narrow)


def test_trainer_notices_a_network_that_grew(data, narrow, dense, tmp_path):
    trainer = make_trainer(data, tmp_path, epochs=1, imgsz=64, batch=8, amp=False)
    trainer.model = trainer.get_model(weights=narrow)

    def grow(running):
        running.ema.ema = deepcopy(dense)

    trainer.add_callback("on_train_end", grow)
    with pytest.raises(PlanError, match=r"model.2.m.0.cv1.bn.bias was \(8,\) and is \(16,\)"):
        trainer.train()


def test_fused_network_is_refused(narrow):
    with pytest.raises(InputError, match="batch norms are folded"):
        check_trainable(narrow.fuse(verbose=False), classes=10, data="data.yaml")


def test_other_network_is_refused():
    with pytest.raises(InputError, match="expected a YOLO network of Ultralytics, got Linear"):
        check_trainable(nn.Linear(1, 1), classes=10, data="data.yaml")


def test_class_count_of_a_classifier():
    head = nn.Module()
    head.linear = nn.Linear(4, 3)
    model = nn.Module()
    model.model = nn.Sequential(head)
    assert class_count(model) == 3


def test_refusal_stops_a_rebuild_and_changes_nothing_else(narrow, dense):
    before, yaml = architecture(narrow), deepcopy(dense.yaml)
    refuse_rebuild(narrow)
    refuse_rebuild(narrow)
    with pytest.raises(KeyError, match=r"write .train\(trainer=deploy_prune.*pruned_trainer\('detect'\)"):
        type(narrow)(narrow.yaml, nc=10, verbose=False)
    assert architecture(narrow) == before
    assert dense.yaml == yaml
    assert len(narrow.yaml["backbone"]) == len(yaml["backbone"]) + 1
    assert torch.isfinite(narrow.eval()(torch.zeros(1, 3, 64, 64))[0]).all()


def test_trainer_class_pickles_by_name_into_a_fresh_process():
    trainer = pruned_trainer("segment")
    assert trainer is pruned_trainer("segment")
    code = f"import pickle; print(pickle.loads({pickle.dumps(trainer)!r}).__mro__[2].__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "SegmentationTrainer"


def test_unknown_task_names_the_known_ones():
    with pytest.raises(InputError, match="unknown YOLO task 'depth'; choose one of: detect, segment, classify"):
        pruned_trainer("depth")

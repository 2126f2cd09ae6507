"""A dozen small models of the zoo, pruned and judged as ``make zoo`` judges all of them; the judge can fail, too."""

import dataclasses
import multiprocessing

import pytest
import torch
from torch import nn
from zoo import judge, registry, run
from zoo.entry import Case
from zoo.lively import enliven
from zoo.outcome import FAILED, OK, Outcome
from zoo.process import Task, judge_apart
from zoo.process import judge as judge_here

FEW = {
    "torchvision-classification": ["mobilenet_v3_small", "shufflenet_v2_x0_5"],
    "torchvision-segmentation": ["lraspp_mobilenet_v3_large"],
    "timm": ["starnet_s050", "levit_128s"],
    "ultralytics": ["yolo26n", "yolov8n-seg"],
    "transformers": ["gpt2", "llama_gqa", "whisper", "clip"],
    "diffusers": ["unet2d", "dit"],
}


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in FEW.items() for name in names])
def test_model_prunes_exactly(family, name):
    pytest.importorskip(registry.package(family))
    outcome = judge_here(family, name, Task())
    assert (outcome.status, outcome.stage, outcome.error) == (OK, "", "")
    assert outcome.removed_share > 0.2 and outcome.eval_error < 1e-6
    assert outcome.train_error is None or outcome.train_error < 1e-6
    assert outcome.unknown == {}


def test_every_timm_module_file_is_covered():
    pytest.importorskip("timm")
    import timm
    from zoo.timm_models import MORE, SMALLEST, module_of

    assert set(SMALLEST) == set(timm.list_modules())
    assert {module: module_of(name) for module, name in SMALLEST.items()} == {module: module for module in SMALLEST}
    assert set(SMALLEST.values()) | set(MORE) <= set(timm.list_models())


def test_every_ultralytics_file_is_covered():
    pytest.importorskip("ultralytics")
    from zoo.ultralytics_models import CONFIGS

    names = [e.name for e in registry.entries("ultralytics")]
    assert len(names) == len(set(names)) == len(list(CONFIGS.rglob("*.yaml"))) > 50
    assert {"yolov8n-seg", "yoloe-11n-seg", "yolov9t", "rtdetr-l", "yolov8n-cls-resnet50"} <= set(names)


def network():
    return enliven(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)))


def test_lively_weights_are_nowhere_constant():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))
    model.scale = nn.Parameter(torch.full((4,), 1e-6))
    model.table = nn.Parameter(torch.zeros(1, 6, 4))
    enliven(model)
    for tensor in (*model.parameters(), model[2].running_mean, model[2].running_var):
        assert tensor.unique().numel() == tensor.numel()
    assert model.scale.min() >= 0.5


def test_a_wrong_result_is_failed_with_its_stage(monkeypatch):
    honest = judge.apply_plan

    def moved(model, plan):
        cut = next(c for c in plan.cuts if c.parameter == "3.weight")
        gone = next(i for i in range(cut.size) if i not in cut.kept)
        wrong = dataclasses.replace(cut, kept=tuple(sorted({*cut.kept[1:], gone})))
        cuts = tuple(wrong if c is cut else c for c in plan.cuts)
        return honest(model, dataclasses.replace(plan, cuts=cuts))

    monkeypatch.setattr(judge, "apply_plan", moved)
    outcome = Outcome("mine", "network", "ours")
    with pytest.raises(Exception, match="differs from the masked original") as caught:
        judge.judge_ours(outcome, Case(network(), torch.rand(2, 3, 8, 8)), 0.3)
    outcome.fail(outcome.stage, caught.value)
    assert (outcome.status, outcome.stage) == (FAILED, "verify")
    assert outcome.error.startswith("VerificationError: ") and "verify.py:" in outcome.error


def test_mistakes_are_seen_unless_the_weights_hide_them():
    inputs = torch.rand(2, 3, 8, 8)
    for model, expected in ((network(), []), (network(), ["0.bias[0]", "0.weight[0]", "1.bias[0]"])):
        if expected:
            model[3].weight.data.zero_()
        outcome = Outcome("mine", "network", "ours")
        judge.judge_ours(outcome, Case(model, inputs), 0.3, mistakes=9)
        assert outcome.status == OK and set(expected) <= set(outcome.unseen) and bool(outcome.unseen) == bool(expected)


def test_too_little_pruned_is_a_failure():
    with pytest.raises(AssertionError, match=r"0\.0% of the parameters went, 20% expected"):
        judge.judge_ours(Outcome("mine", "network", "ours"), Case(nn.Conv2d(3, 8, 3), torch.rand(1, 3, 8, 8)), 0.3)


def test_free_share_counts_output_channels():
    outcome = Outcome("mine", "network", "ours")
    judge.judge_ours(outcome, Case(network(), torch.rand(2, 3, 8, 8)), 0.3)
    assert (outcome.free_share, outcome.groups, outcome.reasons) == (1.0, 1, {})


def test_a_process_of_its_own_has_a_time_limit_and_tells_its_errors():
    pytest.importorskip("torchvision")
    context = multiprocessing.get_context("fork")
    late = judge_apart(context, "torchvision-classification", "squeezenet1_1", Task(limit_s=0.01))
    assert (late.status, late.stage, late.error) == (FAILED, "time", "not done within 0 s")
    lost = judge_apart(context, "torchvision-classification", "resnet", Task())
    assert (lost.status, lost.stage) == (FAILED, "load")
    assert "no model 'resnet' in torchvision-classification; there are alexnet, convnext_base" in lost.error


def test_results_come_back_from_their_file(tmp_path):
    outcome = Outcome("timm", "starnet_s050", "ours", OK, reasons={"reaches a sort": 4}, eval_error=1e-15)
    path = tmp_path / "new" / "zoo.json"
    run.save(path, {outcome.key: outcome}, {"tool": "ours"})
    assert run.load(path) == {"timm/starnet_s050": outcome}
    assert [p.name for p in path.parent.iterdir()] == ["zoo.json"]
    assert run.load(tmp_path / "missing.json") == {}


def test_an_unknown_family_is_refused_by_name():
    with pytest.raises(SystemExit, match="no family begins with resnets; there are torchvision-classification, "):
        run.chosen(["resnets"], "*")

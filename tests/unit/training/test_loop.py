"""The one training loop: its steps are the plain ones, its schedule has no corners, and what it left is its own."""

import math
from pathlib import Path

import pytest
import torch

from genepool_protocol.training.checkpoint import TrainingCheckpoint
from genepool_protocol.training.loop import Anchor, Group, Loop, Schedule
from genepool_protocol.training.muon import Muon
from genepool_protocol.wire.errors import Refused, StorageError
from tests.support.files import largest_file

ROOT = Path(__file__).parents[3]
STEPS, WARMUP = 23, 4


def start():
    rng = torch.Generator().manual_seed(5)
    shapes = {"blocks.0.weight": (6, 4), "blocks.1.weight": (6, 4), "norm.bias": (4,), "head": (3, 6)}
    return {name: torch.randn(shape, generator=rng).requires_grad_() for name, shape in shapes.items()}


def loss_of(params):
    def loss(step, rng):
        x = torch.randn(8, 4, generator=rng) + step / STEPS
        hidden = (x + params["norm.bias"]) @ params["blocks.0.weight"].T
        return (hidden.tanh() @ params["head"].T).square().mean() + params["blocks.1.weight"].square().sum()

    return loss


def groups():
    return [
        Group(("blocks.0.weight", "blocks.1.weight"), 0.02, muon=True, weight_decay=0.1),
        Group(("norm.bias",), 0.01),
        Group(("head",), 0.05),
    ]


def loop(params, folder=None, **anchor):
    checkpoint = None if folder is None else TrainingCheckpoint(folder / "loop.pt", "of this test")
    rng = torch.Generator().manual_seed(1)
    return Loop(params, groups(), Schedule(STEPS, WARMUP, 10), rng, checkpoint=checkpoint, **anchor)


def test_the_loop_takes_the_very_steps_that_are_written_out_here():
    ours, plain = start(), start()
    origin = {"norm.bias": torch.ones(4)}
    losses = []

    def note(_step, loss):
        losses.append(loss)
        return ""

    loop(ours, anchor=Anchor(origin, 0.3, 0.5)).run(loss_of(ours), lambda *_: None, note)
    rng = torch.Generator().manual_seed(1)
    matrices = [plain["blocks.0.weight"], plain["blocks.1.weight"]]
    optimizer = Muon(
        [
            {"params": matrices, "lr": 0.02, "weight_decay": 0.1},
            {"params": [plain["norm.bias"]], "lr": 0.01, "use_fallback": True},
            {"params": [plain["head"]], "lr": 0.05, "use_fallback": True},
        ]
    )
    for step in range(STEPS):
        falling = 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))
        scale = (step + 1) / WARMUP if step < WARMUP else falling
        for group, lr in zip(optimizer.param_groups, (0.02, 0.01, 0.05), strict=True):
            group["lr"] = lr * scale
        loss = loss_of(plain)(step, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(plain.values()), 1.0)
        optimizer.step()
        with torch.no_grad():
            plain["norm.bias"].lerp_(origin["norm.bias"], 0.3 * scale * 0.5)
        assert losses[step] == loss.item()
    assert all(ours[name].equal(plain[name]) for name in plain)


@pytest.mark.parametrize("warmup", [0, 1, 5, 20, 50])
def test_rates_rise_to_the_highest_ones_and_fall_to_nothing(warmup):
    scales = [Schedule(20, warmup, 10).scale(step) for step in range(20)]
    top = scales.index(max(scales))
    assert all(0 < scale <= 1 for scale in scales)
    assert scales == [*sorted(scales[:top]), *sorted(scales[top:], reverse=True)]
    if warmup < 20:
        assert scales[max(0, warmup - 1)] == 1
        assert scales[-1] < 0.02


def test_what_the_caller_wants_kept_comes_back_with_the_checkpoint(tmp_path):
    params = start()
    first = loop(params, tmp_path)
    first.run(loss_of(params), lambda *_: None, lambda step, _loss: first.notes.update(rows=[step]) or "")
    again = loop(start(), tmp_path)
    assert (again.step, again.notes) == (STEPS, {"rows": [STEPS]})
    assert all(again.params[name].equal(params[name]) for name in params)


@pytest.mark.parametrize("mark", ["checkpoint/v2 of this test", "of this test", None])
def test_a_checkpoint_of_an_older_version_is_refused_and_stays(tmp_path, mark):
    """Sites wrote `checkpoint/v2`, baking no version at all; the fields have other names by now."""
    state = {"params": dict(start()), "done": 3} | ({"fingerprint": mark} if mark else {})
    torch.save(state, tmp_path / "loop.pt")
    raw = (tmp_path / "loop.pt").read_bytes()
    with pytest.raises(Refused) as refusal:
        loop(start(), tmp_path)
    assert refusal.value.reason == "DATA_CHANGED"
    assert "version" in str(refusal.value)
    assert "remove the file" in refusal.value.fix
    assert (tmp_path / "loop.pt").read_bytes() == raw


def test_a_full_disk_at_a_checkpoint_is_an_error_of_ours_and_the_last_one_stays(tmp_path):
    kept = TrainingCheckpoint(tmp_path / "training.pt", "same")
    kept.save({"step": 1})
    with largest_file(1000), pytest.raises(StorageError) as caught:
        kept.save({"step": 2, "weights": torch.zeros(1000)})
    assert (caught.value.reason, str(tmp_path) in caught.value.message) == ("DISK_FULL", True)
    assert kept.load("cpu")["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]


def test_there_is_one_training_loop_and_one_fine_tuning_loop():
    sources = [path for room in ("protocol", "server", "client", "lab") for path in (ROOT / room).rglob("*.py")]
    loops = {path.name for path in sources if ".zero_grad(" in path.read_text(encoding="utf-8")}
    assert loops == {"loop.py", "finetune.py"}

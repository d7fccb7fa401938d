"""The optimiser: timm's Muon in another arithmetic, and no slower where bfloat16 is emulated."""

import pytest
import torch
from timm.optim import muon as published

from genepool_protocol.training import muon, precision

SHAPES = [(24, 8), (24, 8), (8, 32)]


def some(shapes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in shapes]


def groups(matrices, vectors):
    return [{"params": matrices, "lr": 1e-2}, {"params": vectors, "lr": 1e-3, "use_fallback": True}]


def moved(optimizer, params, steps, first=1):
    for step in range(first, first + steps):
        for param, gradient in zip(params, some([p.shape for p in params], seed=step), strict=True):
            param.grad = gradient.detach()
        optimizer.step()
    return [param.detach().clone() for param in params]


def no_bfloat16(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)


def test_it_moves_everything_where_timms_muon_moves_it_up_to_the_rounding_of_bfloat16():
    ours, theirs = some([*SHAPES, (5,)]), some([*SHAPES, (5,)])
    start = [param.detach().clone() for param in ours]
    moved(muon.Muon(groups(ours[:3], ours[3:]), weight_decay=0.1), ours, 3)
    reference = published.Muon(groups(theirs[:3], theirs[3:]), weight_decay=0.1, nesterov=True, betas=(0.9, 0.98))
    moved(reference, theirs, 3)
    for mine, other, before in zip(ours, theirs, start, strict=True):
        assert (mine - other).norm() < 0.02 * (other - before).norm()
    assert torch.equal(ours[3], theirs[3])


def test_matrices_of_one_shape_do_not_touch_each_other():
    together, alone = some(SHAPES), some(SHAPES)
    moved(muon.Muon(groups(together, [])[:1]), together, 2)
    for index in range(3):
        only = alone[index]
        optimizer = muon.Muon(groups([only], [])[:1])
        for step in (1, 2):
            only.grad = some(SHAPES, seed=step)[index].detach()
            optimizer.step()
        assert torch.allclose(only, together[index], atol=1e-4)


def test_a_resumed_optimiser_goes_on_with_the_same_bytes():
    whole, cut = some([*SHAPES, (5,)]), some([*SHAPES, (5,)])
    moved(muon.Muon(groups(whole[:3], whole[3:])), whole, 4)
    first = muon.Muon(groups(cut[:3], cut[3:]))
    moved(first, cut, 2)
    second = muon.Muon(groups(cut[:3], cut[3:]))
    second.load_state_dict(first.state_dict())
    moved(second, cut, 2, first=3)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_a_matrix_without_a_gradient_stays():
    params = some(SHAPES)
    before = params[1].detach().clone()
    optimizer = muon.Muon(groups(params, [])[:1])
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert torch.equal(params[1], before)


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    rng = torch.Generator().manual_seed(0)
    found = muon.orthogonalised(torch.randn(3, *shape, generator=rng)).float()
    values = torch.linalg.svdvals(found)
    assert 0.5 < values.min() <= values.max() < 1.4


def test_without_native_bfloat16_it_orthogonalises_in_float32(monkeypatch):
    no_bfloat16(monkeypatch)
    assert muon.orthogonalised(torch.eye(4)[None]).dtype == torch.float32


def test_without_native_bfloat16_training_is_in_float32(monkeypatch):
    no_bfloat16(monkeypatch)
    assert not precision.trains_in_bfloat16("cpu")
    with precision.training("cpu"):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32

"""Rates and freezing follow the papers, on the networks of the registry."""

import pytest
import torch

from trk.errors import ModelError
from trk.models.registry import ROWS, find
from trk.train.schedule import Schedule, schedule_for, set_learning


def _learning(model: str, variant: str | None, progress: float) -> set[str]:
    row = find(model, variant)
    net = row.build().train()
    set_learning(net, schedule_for(row.model, row.variant).resolved(net), progress, ())
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


def test_every_row_has_a_schedule_that_fits_its_network() -> None:
    for row in (row for row in ROWS if row.model != "matching"):  # it has nothing to learn
        schedule = schedule_for(row.model, row.variant)
        with torch.device("meta"):
            names = {name for name, _ in row.build().named_modules()}
        assert set(schedule.unfreeze) <= names, row.name


def test_the_backbone_of_siamrpnpp_learns_from_the_middle_but_its_stem_never() -> None:
    early, late = (_learning("siamrpnpp", "mobilenetv2", progress) for progress in (0.4, 0.6))
    assert not any(name.startswith("backbone") for name in early)
    assert any(name.startswith("backbone.layer5") for name in late)
    assert not any(name.startswith("backbone.layer0") for name in late)
    assert any(name.startswith("rpn_head") for name in early)


def test_siamdw_thaws_unit_by_unit_from_the_back() -> None:
    counts = [len(_learning("siamdw_fc", "res22", progress)) for progress in (0.0, 0.15, 0.25, 0.75)]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] < counts[3]
    assert not any("conv1.weight" in name and "layer" not in name for name in _learning("siamdw_fc", "res22", 1.0))


def test_frozen_batch_norms_keep_their_statistics() -> None:
    row = find("siamrpnpp", "mobilenetv2")
    net = row.build().train()
    set_learning(net, schedule_for(row.model, row.variant), 0.0, ())
    assert not net.backbone.layer5[0].conv[1].training
    assert net.neck.training


def test_rates_run_from_warm_up_to_the_last() -> None:
    log = Schedule(1e-2, 1e-4, "log", 0.1, 1e-3)
    assert log.at(0.0) == pytest.approx(1e-3)
    assert log.at(0.1) == pytest.approx(1e-2)
    assert log.at(0.55) == pytest.approx(1e-3)
    assert log.at(1.0) == pytest.approx(1e-4)
    step = schedule_for("sasiam", "full")
    assert (step.at(0.8), step.at(0.9)) == (1e-2, 1e-3)
    assert log.scaled(2e-2).at(1.0) == pytest.approx(2e-4)


def test_a_model_without_a_schedule_is_told() -> None:
    with pytest.raises(ModelError, match="no schedule"):
        schedule_for("unknown", "one")

"""What is known without torch is what there is."""

from __future__ import annotations

import pytest
import timm

from policies.learners.algorithms import ALGORITHMS
from policies.learners.arguments import arguments, arguments_of
from representation import names
from representation.augmentations import AUGMENTATIONS
from representation.objectives.combine import OBJECTIVES


def test_names_are_those_of_the_tables():
    assert tuple(OBJECTIVES) == names.OBJECTIVES
    assert tuple(AUGMENTATIONS) == names.AUGMENTATIONS


def test_every_network_of_timm_may_be_one():
    assert all(map(names.may_be_network, timm.list_models()))
    assert names.may_be_network("resnet18.a1_in1k")
    with pytest.raises(ValueError, match="did you mean resnet18"):
        names.require_network("resnet19")


@pytest.mark.parametrize("name", ["ppo", "recurrent-ppo", "sac", "tqc"])
def test_hyperparameters_are_those_of_the_class(name):
    assert sorted(arguments(name)) == sorted(arguments_of(ALGORITHMS[name].model))

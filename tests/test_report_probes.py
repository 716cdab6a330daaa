from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium import spaces
from made_up_study import probe_report, tables, write_study
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from policies import cli
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig
from policies.deployable import save_policy
from policies.features import policy_kwargs
from policies.report.compose import compose
from policies.report.costs import POLICY, encoding_costs, mega_operations
from policies.report.markdown import markdown
from policies.report.page import page
from policies.report.probes import Probed, probes
from policies.report.study import read_study
from policies.representations import make_representation
from representation.model_card import write_card
from representation.probes.measurements import Measurement
from representation.timm_encoder import VisuotactileEncoder

NAMES = ("state", "resnet-pose", "resnet-pose:touch", "random")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    config = AblationConfig(NAMES, seeds=2)
    return write_study(tmp_path_factory.mktemp("studies") / "made-up", config)


def labelled(*names: str) -> dict[str, str]:
    """Names that are their own labels."""
    return {name: name for name in names}


def test_probes_are_those_of_the_part_that_a_policy_saw(study, tmp_path) -> None:
    (tmp_path / "report.json").write_text(probe_report("resnet-pose", 0.1))
    found = probes(study.path, labelled(*NAMES), [tmp_path]).found
    errors = {name: probed.errors["hand_z_mm"] for name, probed in found.items()}
    # Vision, touch and both have 0, 1 and 2 more; what is untrained has 10 more.
    expected = {"resnet-pose": 2.1, "resnet-pose:touch": 1.1, "random": 12.1}
    assert errors == pytest.approx(expected)
    assert found["resnet-pose"].accuracy == 0.9
    content = compose(study.path, [tmp_path])
    table = tables(markdown(content))["Probes and success", "from"]
    assert table["resnet-pose"][1:3] == ["2.10", "-"]


def test_what_no_report_tells_a_card_does(study, tmp_path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    known = [
        Measurement("mine", "encoder", "accuracy", 0.982, variable="connector", bound=0.99),
        Measurement("mine", "encoder", "error", 0.12, variable="hand_z_mm", bound=0.1),
        Measurement("mine", "encoder", "error", 0.25, variable="socket_y_mm"),
    ]
    write_card(folder, data="d", objective="o", command="c", commit="0", metrics={}, probes=known)
    found = probes(study.path, labelled("state", str(folder)), []).found
    assert found.keys() == {str(folder)}
    assert found[str(folder)].errors == {"hand_z_mm": 0.12, "socket_y_mm": 0.25}
    assert found[str(folder)].accuracy == 0.982
    assert found[str(folder)].bounds == {"hand_z_mm": 0.1}


def test_an_encoder_is_known_by_the_folder_of_its_run(tmp_path) -> None:
    inside = tmp_path / "probes" / "mine"
    inside.mkdir(parents=True)
    (inside / "report.json").write_text(probe_report("outputs/mine", 0.1))
    found = probes(tmp_path, {"mine": "outputs/mine/encoder"}, []).found
    assert found["mine"].errors["hand_z_mm"] == pytest.approx(2.1)


def test_the_worst_error_is_the_largest_part_of_its_bound() -> None:
    bounds = {"hand_z_mm": 0.1, "socket_y_mm": 0.3}
    within = {name: 0.5 * bound for name, bound in bounds.items()}
    assert Probed(within, bounds, None, "").worst == pytest.approx(0.5)
    assert Probed(within | {"socket_y_mm": 0.9}, bounds, None, "").worst == pytest.approx(3.0)
    assert Probed({"socket_y_mm": 0.9}, bounds, None, "").worst is None
    assert Probed(within, {}, None, "").worst is None


def test_a_report_in_the_study_is_named_from_there_on(tmp_path) -> None:
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "report.json").write_text(probe_report("mine", 0.1))
    found = probes(tmp_path, labelled("mine"), []).found
    assert found["mine"].source == "the probe report probes/report.json"


def test_probes_of_another_encoder_are_named(study, tmp_path) -> None:
    path = tmp_path / "other.json"
    path.write_text(probe_report("vit-dynamics", 0.1))
    content = compose(study.path, [path])
    assert content.notes[-1] == f"{path} is of vit-dynamics, which this study does not have."


def test_a_correlation_needs_several_encoders(tmp_path) -> None:
    names = ("resnet-pose", "resnet-pose:touch", "resnet-dynamics", "vit-dynamics")
    paths = []
    for number, name in enumerate(("resnet-pose", "resnet-dynamics", "vit-dynamics")):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(probe_report(name, 0.1 + number))
    alone = write_study(tmp_path / "alone", AblationConfig(names[:1], seeds=1))
    html = page(compose(alone.path, paths[:1]))
    assert "Hand z" in html
    assert "rank correlation" not in html
    # Touch has a smaller error than both, and succeeds least of all; the others fall in order.
    ablation = write_study(tmp_path / "s", AblationConfig(names, seeds=1))
    assert "rank correlation 0.20 over 4 encoders" in page(compose(ablation.path, paths))


def operations(encoder: VisuotactileEncoder) -> Iterator[float]:
    """Multiplications and additions of convolutions and linear layers, one by one."""
    counted: list[float] = []

    def count(module: nn.Module, _: object, output) -> None:
        if isinstance(module, nn.Conv2d):
            reads = module.in_channels // module.groups * np.prod(module.kernel_size)
            counted.append(2.0 * output.numel() * reads)
        elif isinstance(module, nn.Linear):
            counted.append(2.0 * output.numel() * module.in_features)

    hooks = [module.register_forward_hook(count) for module in encoder.modules()]
    mega_operations(encoder)
    for hook in hooks:
        hook.remove()
    yield from counted


def test_what_encoding_costs(tmp_path) -> None:
    small = write_study(tmp_path / "small", AblationConfig(("resnet-pose",), seeds=1))
    representation = make_representation("resnet-pose:touch")
    assert representation.encoder is not None
    cost = mega_operations(representation.encoder)
    assert cost == pytest.approx(sum(operations(representation.encoder)) / 1e6)
    space = representation.observation_space()
    actions = spaces.Box(-1.0, 1.0, (5,), np.float32)
    policy = ActorCriticPolicy(space, actions, lambda _: 0.0, **policy_kwargs(representation))
    folder = small.folder(small.read_grid().cells[0])
    unknown = "What it costs to encode is not known: the runs hold no policies."
    assert encoding_costs(read_study(small.path).runs) == ({}, [unknown])
    save_policy(folder / POLICY, policy, representation, {})
    found, notes = encoding_costs(read_study(small.path).runs)
    assert found == {"resnet-pose": pytest.approx(cost)} and not notes
    assert f"{cost:.1f}" in markdown(compose(small.path))


@pytest.mark.parametrize("text", [None, "{", "[]", '{"audit": {"name": "x"}}'])
def test_what_is_no_probe_report_is_named(study, tmp_path, text, capsys) -> None:
    path = tmp_path / "probe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match="probe report"):
        probes(study.path, labelled(*NAMES), [path])
    assert cli.main(["report", str(study.path), "--probes", str(path)]) == 2
    assert str(path) in capsys.readouterr().err

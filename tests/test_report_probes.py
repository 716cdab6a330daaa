from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium import spaces
from made_up_study import tables, write_study
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from policies import cli
from policies.ablation import Ablation
from policies.ablation_grid import AblationConfig
from policies.deployable import save_policy
from policies.features import policy_kwargs
from policies.report.costs import POLICY, encoding_costs, mega_operations
from policies.report.document import compose
from policies.report.markdown import markdown
from policies.report.page import page
from policies.report.probes import ProbeFileError, probes
from policies.report.study import read_study
from policies.representations import make_representation
from representation.encoder import VisuotactileEncoder
from representation.probes.bootstrap import Estimate
from representation.probes.report import AuditReport, ClassAccuracy, PoseError
from vtenv import CONNECTOR_NAMES

TITLE = "Distilled from the scripted expert (DAgger)"
NAMES = ("state", "resnet-pose", "resnet-pose:touch", "random")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    config = AblationConfig(NAMES, seeds=2)
    return write_study(tmp_path_factory.mktemp("studies") / "made-up", config)


def audit(name: str, error: float, modalities: tuple[str, ...] = ("vision", "touch")) -> str:
    """What `vtinsert probe` writes of an encoder; each part has an error of its own."""
    parts = {part: i for i, part in enumerate((*modalities, "both"))}

    def estimate(value: float) -> Estimate:
        return Estimate(value, value, value, 10, 10)

    report = AuditReport(
        name=name,
        config={},
        modalities=modalities,
        embedding_size=256,
        variables=("hand_z_mm",),
        circular=(),
        classes=CONNECTOR_NAMES,
        seed=0,
        train_rows={"all": 10},
        heldout_rows={"all": 10},
        train_episodes=10,
        heldout_episodes=10,
        yardsticks={},
        pose=tuple(
            PoseError(
                subject, part, "hand_z_mm", "near_contact", "near_contact", estimate(error + i + j)
            )
            for part, i in parts.items()
            for subject, j in (("encoder", 0), ("untrained encoder", 10))
        ),
        connector=tuple(
            ClassAccuracy("encoder", part, "near_contact", "near_contact", estimate(0.9), (), True)
            for part in parts
        ),
        shared_space="",
        retrieval=(),
        sphere=None,
        clusters=(),
        places=(),
        gate=(),
        notes=(),
        seconds={},
    )
    return json.dumps({"command": "vtinsert probe", "audit": report.to_dict()})


def test_probes_are_those_of_the_part_that_a_policy_saw(study, tmp_path) -> None:
    (tmp_path / "report.json").write_text(audit("resnet-pose", 0.1))
    found = probes(study.path, NAMES, [tmp_path]).found
    errors = {name: probed.errors["hand_z_mm"] for name, probed in found.items()}
    # Vision, touch and both have 0, 1 and 2 more; what is untrained has 10 more.
    expected = {"resnet-pose": 2.1, "resnet-pose:touch": 1.1, "random": 12.1}
    assert errors == pytest.approx(expected)
    assert found["resnet-pose"].accuracy == 0.9
    content = compose(study.path, [tmp_path])
    table = tables(markdown(content))[TITLE, "from"]
    assert table["resnet-pose"][1:3] == ["2.10", "-"]


def test_what_no_report_tells_a_card_does(study) -> None:
    found = probes(study.path, NAMES, []).found
    assert found.keys() == {"resnet-pose"}
    assert found["resnet-pose"].errors["hand_z_mm"] == 0.12
    assert found["resnet-pose"].accuracy == pytest.approx(0.982)


def test_an_encoder_is_known_by_the_folder_of_its_run(tmp_path) -> None:
    inside = tmp_path / "probes" / "mine"
    inside.mkdir(parents=True)
    (inside / "report.json").write_text(audit("outputs/mine", 0.1, ("touch",)))
    found = probes(tmp_path, ("outputs/mine/encoder",), []).found
    assert found["outputs/mine/encoder"].errors["hand_z_mm"] == pytest.approx(0.1)


def test_probes_of_another_encoder_are_named(study, tmp_path) -> None:
    path = tmp_path / "other.json"
    path.write_text(audit("vit-dynamics", 0.1))
    content = compose(study.path, [path])
    assert content.notes[-1] == f"{path} is of vit-dynamics, which this study does not have."


def test_a_correlation_needs_several_encoders(tmp_path) -> None:
    names = ("resnet-pose", "resnet-dynamics", "vit-dynamics", "random")
    ablation = write_study(tmp_path / "s", AblationConfig(names, seeds=1))
    html = page(compose(ablation.path))
    assert "Hand z" in html and "rank correlation" not in html
    (tmp_path / "report.json").write_text(audit("resnet-pose", 0.1))
    # The errors are 2.1, 0.264, 0.24 and 12.1; by success the last is the worst.
    assert "over 4 encoders" in page(compose(ablation.path, [tmp_path]))


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
    folder = small.folder(small.read_config().cells[0])
    assert encoding_costs(read_study(small.path).runs)[1]
    save_policy(folder / POLICY, policy, representation, {})
    found, notes = encoding_costs(read_study(small.path).runs)
    assert found == {"resnet-pose": pytest.approx(cost)} and not notes
    assert f"{cost:.1f}" in markdown(compose(small.path))


@pytest.mark.parametrize("text", [None, "{", "[]", '{"audit": {"name": "x"}}'])
def test_what_is_no_probe_report_is_named(study, tmp_path, text, capsys) -> None:
    path = tmp_path / "probe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProbeFileError, match="probe report"):
        probes(study.path, NAMES, [path])
    assert cli.main(["report", str(study.path), "--probes", str(path)]) == 2
    assert str(path) in capsys.readouterr().err

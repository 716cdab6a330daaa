"""`VTPivot-v0`: the pivoting task as Gymnasium's environments."""

from __future__ import annotations

from typing import Any, ClassVar

from vtenv.env import TaskEnv
from vtenv.tasks.pivot.task import PivotTask
from vtenv.vector_env import TaskVectorEnv


class VTPivotEnv(TaskEnv):
    """Turn and shift a connector between two GelSight fingers to a commanded pose in the hand.

    ## Description

    In-hand manipulation by extrinsic dexterity, with the gripper, the connectors and the fixture
    of `VTInsert-v0`. The fingers hold the plug with 2 N, a tenth of insertion's grip, so that it
    turns and slides between them when it is pressed on something. The goal is a pitch of the plug
    in the hand and a place along the fingers. The task is to press the plug on the edges and the
    face of the socket's housing until it is at the goal, and to let go of the housing without
    dropping the plug.

    Vision alone is blind to it: the palm hides the plug from the overhead camera, which sees where
    the housing is. The gel feels how the plug sits in the hand.

    Physics run at 1 kHz and control at 50 Hz. World axes: x ahead from the hand to the socket, y
    to the left, z up.

    ## Action Space

    The action space is a `Box(-1, 1, (5,), float32)`: the change of the hand's target, as in
    `VTInsert-v0`. The target stays within 6 mm and 0.15 rad of the hand, which bounds its force
    to 12 N, and within the gantry's workspace.

    ## Observation Space

    The observation space is a `Dict` of the modalities asked for, and of the goal, which is always
    among them. S is `image_size` and C is `contact_size`, 64 unless given; `touch_sensor` has its
    own C and markers. Every observation is a new array.

    | Key       | Space                                         | Observation (unit)             |
    |-----------|-----------------------------------------------|--------------------------------|
    | `depth`   | `Box(0.0, 1.0, (1, S, S), float32)`           | Planar depth (m); 0: no return |
    | `contact` | `Box(0, 1, (2, C, C), uint8)`                 | Contact mask, left, right      |
    | `gel`     | `Box(0.0, 6.0, (2, C, C), float32)`           | Indentation, left, right (mm)  |
    | `shear`   | `Box(-100.0, 100.0, (2, 3, 16, 16), float32)` | Taxels' force, left, right (N) |
    | `markers` | `Box(-10.0, 10.0, (2, 2, 9, 7), float32)`     | Markers' motion, likewise (mm) |
    | `rgb`     | `Box(0, 255, (2, 3, C, C), uint8)`            | Colours of the gels            |
    | `proprio` | `Box(-30.0, 30.0, (12,), float32)`            | As in `VTInsert-v0`            |
    | `state`   | `Box(-30.0, 30.0, (33,), float32)`            | The privileged state, below    |
    | `goal`    | `Box(-2.0, 2.0, (2,), float32)`               | The goal, below                |

    | Num   | `goal`                                                            | Unit     |
    |-------|-------------------------------------------------------------------|----------|
    | 0     | Commanded plug x in the hand, from its nominal place              | cm       |
    | 1     | Commanded plug pitch in the hand, positive nose-down              | rad      |

    | Num   | `state`                                                           | Unit     |
    |-------|-------------------------------------------------------------------|----------|
    | 0-30  | The `state` of `VTInsert-v0`                                      |          |
    | 31    | Way still to go along the fingers: commanded minus present x      | cm       |
    | 32    | Turn still to make: commanded minus present pitch                 | rad      |

    ## Rewards

    The dense reward is the sum of these terms, each of them in `info` as `reward_<term>`. The
    first two are *changes* of a potential over the step, so standing still, turning to and fro and
    pushing on the housing earn nothing.

    | Term        | Weight | What                                                              |
    |-------------|--------|-------------------------------------------------------------------|
    | `pitch`     | 3      | Change of 1 - tanh(error of pitch / 0.2 rad)                      |
    | `place`     | 3      | Change of 1 - tanh(error of place / 3 mm)                         |
    | `success`   | 5      | 1 on success                                                      |
    | `failure`   | -2     | 1 on failure                                                      |
    | `force`     | -0.01  | Contact force over 10 N, in units of 10 N, at most 5              |
    | `time`      | -0.01  | 1                                                                 |

    The sparse reward is 1 on success and 0 otherwise.

    ## Starting State

    The plug is held at rest, as one of 256 settled grasps of each connector, made on first use
    and cached. Everything is drawn uniformly and independently:

    | Field of `PivotInitialStateRanges` | Default range  | What                                  |
    |------------------------------------|----------------|---------------------------------------|
    | `in_hand_x_mm`                     | 0 to 3         | Plug along the fingers                |
    | `in_hand_z_mm`                     | -1.5 to 1.5    | Plug across the fingers               |
    | `in_hand_pitch_deg`                | -8 to 8        | Plug pitch between the fingers        |
    | `hand_y_mm`                        | -2 to 2        | Hand sideways                         |
    | `hand_z_mm`                        | -2 to 2        | Hand upwards                          |
    | `hand_yaw_deg`                     | -3 to 3        | Hand yaw                              |
    | `socket_x_mm`                      | 36 to 43       | Mouth ahead of the hand's centre      |
    | `socket_y_mm`                      | -12 to 12      | Mouth sideways                        |
    | `socket_z_mm`                      | -2 to 2        | Mouth above the hand's centre         |
    | `socket_yaw_deg`                   | -10 to 10      | Socket yaw                            |

    Then the goal is drawn from where the settled plug is: its pitch uniformly from
    -18 to 18 degrees without what is within 11 degrees of the first pitch, and its place uniformly
    from 3 to 5.5 mm behind the first one. Pushing moves a plug back only.

    `reset(options=...)` fixes any of the fields for one episode, the `connector`, and the goal, by
    `goal_x_mm` and `goal_pitch_deg`; fixing a part of the grasp settles a new one, which takes
    about ten control steps. `domain_randomization` is that of `VTInsert-v0`.

    ## Episode End

    The episode terminates on

    1. success: the pitch is within 3 degrees and the place within 1 mm of the goal, both fingers
       touch the plug, and the housing presses on it with less than 0.5 N;
    2. failure, named in `info["failure"]`: `dropped` (the fingers have closed on nothing),
       `slipped` (the plug is over 12 mm along, 13 mm across or 0.6 rad off its nominal place in
       the hand), `force` (over 60 N between plug and housing), or `unstable` (MuJoCo warned).

    It is truncated after 150 steps, three seconds.

    `info` also holds `is_success`, `connector`, `in_hand_x` (m), `in_hand_pitch` (rad),
    `place_error` (m) and `pitch_error` (rad), both goal minus present, and `contact_force` (N).

    ## Arguments

    ```python
    import gymnasium, vtenv
    env = gymnasium.make("VTPivot-v0", connectors=("usb",))
    ```

    The arguments are those of `VTInsert-v0`, but for `track`. These have other defaults:

    | Parameter | Type | Default | Description |
    |---|---|---|---|
    | `modalities` | **sequence** | the paper's three | What to observe besides the goal |
    | `clearance_mm` | **float** | `0.4` | Room on each side, 0.03 to 2; `None`: each one's own |
    | `lead_in_mm` | **float** | `1.0` | Width of the mouth's chamfer, likewise |
    | `insertion_resistance` | **float** | `0.0` | Sockets' springs, in parts of their own |
    | `hand_force_n` | **float** | `12.0` | Greatest force of the hand along an axis |
    | `action_delay` | **int** | `0` | Control steps until an action acts, 0 to 3 |
    | `observation_delay` | **int** | `0` | Control steps until it is observed, 0 to 3 |
    | `initial_state` | **PivotInitialStateRanges** | `None` | Ranges; None for those above |
    | `disturbances` | **PivotDisturbanceConfig** | `None` | Grip, cable, tilt; None: 2 N alone |

    ## Version History

    * v0: Initial version.
    """

    task_type: ClassVar[type[Any]] = PivotTask


class VTPivotVectorEnv(TaskVectorEnv):
    """N worlds of `VTPivot-v0` in one process; see `TaskVectorEnv` and `VTPivotEnv`."""

    task_type: ClassVar[type[Any]] = PivotTask

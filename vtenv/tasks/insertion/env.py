"""`VTInsert-v0`: the insertion task as Gymnasium's environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vtenv.env import TaskEnv
from vtenv.tasks.insertion.task import InsertionTask
from vtenv.vector_env import TaskVectorEnv


class VTInsertEnv(TaskEnv):
    """Insert a connector, held between two GelSight fingers, into its socket.

    ## Description

    A gantry carries a parallel gripper whose fingers are GelSight sensors. They hold a
    connector by friction alone: it can slip, tilt and be dropped. Its socket stands ahead.
    The task is to bring the plug's tip to the socket's mouth, align it, and push it in.

    The overhead depth camera rides with the gantry, so the image's centre is the gripper's
    centre; it sees the socket, but the palm hides the plug from it. The gel sees how
    the plug sits in the hand, but not the socket.

    Four connectors share one scene: a 3.5 mm audio plug (`aux`), a 1 x 4 pin header (`pin`),
    a USB-A plug (`usb`) and an M6 stud (`stud`). Each socket has its own fit, from 0.05 mm a side
    for the audio jack to 0.2 mm for the stud, and a chamfer of 0.3 to 0.5 mm around its mouth;
    springs inside resist the insertion with 3 to 21 N. Sockets are tilted, grips are weak or firm,
    and actions and observations are a control step late.

    Physics run at 1 kHz and control at 50 Hz, twenty physics steps to a control step. World
    axes: x ahead from the hand to the socket, y to the left, z up.

    ## Action Space

    The action space is a `Box(-1, 1, (5,), float32)`: the change of the hand's target. The
    target stays within 15 mm and 0.15 rad of the hand, which bounds its force to 30 N
    (`hand_force_n`), and within the gantry's workspace. Actions beyond the bounds are clipped; an
    action that is not finite raises a `ValueError`.

    | Num | Action                                    | Control Min | Control Max | At 1 (unit)  |
    |-----|-------------------------------------------|-------------|-------------|--------------|
    | 0   | Target along x, ahead                     | -1          | 1           | 4 (mm)       |
    | 1   | Target along y, to the left               | -1          | 1           | 3 (mm)       |
    | 2   | Target along z, upwards                   | -1          | 1           | 2 (mm)       |
    | 3   | Target yaw, to the left                   | -1          | 1           | 0.06 (rad)   |
    | 4   | Target pitch, nose-down                   | -1          | 1           | 0.06 (rad)   |

    ## Observation Space

    The observation space is a `Dict` of the modalities asked for. S is `image_size` and C is
    `contact_size`, 64 unless given; `touch_sensor` has its own C and markers. Every observation is
    a new array.

    | Key       | Space                                         | Observation (unit)             |
    |-----------|-----------------------------------------------|--------------------------------|
    | `depth`   | `Box(0.0, 1.0, (1, S, S), float32)`           | Planar depth (m); 0: no return |
    | `contact` | `Box(0, 1, (2, C, C), uint8)`                 | Contact mask, left, right      |
    | `gel`     | `Box(0.0, 6.0, (2, C, C), float32)`           | Indentation, left, right (mm)  |
    | `shear`   | `Box(-100.0, 100.0, (2, 3, 16, 16), float32)` | Taxels' force, left, right (N) |
    | `markers` | `Box(-10.0, 10.0, (2, 2, 9, 7), float32)`     | Markers' motion, likewise (mm) |
    | `rgb`     | `Box(0, 255, (2, 3, C, C), uint8)`            | Colours of the gels            |
    | `proprio` | `Box(-30.0, 30.0, (12,), float32)`            | Proprioception, below          |
    | `state`   | `Box(-30.0, 30.0, (31,), float32)`            | The privileged state, below    |

    The top of the depth image is ahead; it is 98 mm wide at the height of the socket's top. A
    finger's image is what a camera behind its gel sees, 24 mm wide by default, the top up: ahead
    is left in the left finger's image and right in the right finger's.

    A taxel's force has three parts: pressing, along the columns and along the rows; a marker's
    motion has the last two. Both span what the sensor sees, and both remember what has stuck and
    slipped since the reset; see [Touch](touch.md). In the first observation of an episode pads feel
    the grip alone.

    | Num   | `proprio` and `state`                                             | Unit     |
    |-------|-------------------------------------------------------------------|----------|
    | 0-2   | Hand x, y, z from its nominal place                               | cm       |
    | 3-4   | Hand yaw, pitch                                                   | rad      |
    | 5-7   | Target ahead of the hand: x, y, z                                 | cm       |
    | 8-9   | Target ahead of the hand: yaw, pitch                              | rad      |
    | 10-11 | Distance closed by the left and right finger                      | cm       |

    | Num   | `state` alone                                                     | Unit     |
    |-------|-------------------------------------------------------------------|----------|
    | 12-13 | Plug x, z in the hand, from its nominal place                     | cm       |
    | 14    | Plug pitch in the hand                                            | rad      |
    | 15    | Depth of the tip past the socket's mouth                          | cm       |
    | 16-17 | Tip across the socket's axis: y, z in the socket's frame          | cm       |
    | 18-20 | Plug yaw, pitch, roll in the socket's frame                       | rad      |
    | 21-23 | Socket's mouth in the hand's frame: x, y, z                       | cm       |
    | 24    | Socket yaw in the hand's frame                                    | rad      |
    | 25    | Travel of the plug                                                | cm       |
    | 26    | Contact force between plug and socket                             | 10 N     |
    | 27-28 | Width and height of what is inserted                              | cm       |
    | 29-30 | Width and height of what is held                                  | cm       |

    ## Rewards

    The dense reward is the sum of these terms, each of them in `info` as `reward_<term>`. The
    first four are *changes* of a potential over the step, so standing still, going in circles
    and pushing against the socket's face earn nothing.

    | Term        | Weight | What                                                              |
    |-------------|--------|-------------------------------------------------------------------|
    | `lateral`   | 1      | Change of 1 - tanh(distance of the tip from the axis / 5 mm)      |
    | `angular`   | 0.5    | Change of 1 - tanh(angle between the axes / 0.2 rad)              |
    | `approach`  | 1      | Change of 1 - tanh(distance of the tip before the mouth / 20 mm)  |
    | `insertion` | 5      | Change of the part of the required depth reached, in the mouth    |
    | `success`   | 5      | 1 on success                                                      |
    | `failure`   | -2     | 1 on failure                                                      |
    | `force`     | -0.01  | Contact force over 10 N, in units of 10 N, at most 5              |
    | `time`      | -0.01  | 1                                                                 |

    The sparse reward is 1 on success and 0 otherwise.

    ## Starting State

    The plug is held at rest, as one of 256 settled grasps of each connector at each of a few grip
    forces, made on first use and cached. Everything is drawn uniformly and independently:

    | Field of `InitialStateRanges` | Default range  | What                                       |
    |-------------------------------|----------------|--------------------------------------------|
    | `in_hand_x_mm`                | -3 to 3        | Plug along the fingers                     |
    | `in_hand_z_mm`                | -4 to 4        | Plug across the fingers                    |
    | `in_hand_pitch_deg`           | -12 to 12      | Plug pitch between the fingers             |
    | `hand_y_mm`                   | -2 to 2        | Hand sideways                              |
    | `hand_z_mm`                   | -2 to 2        | Hand upwards                               |
    | `hand_yaw_deg`                | -3 to 3        | Hand yaw                                   |
    | `socket_x_mm`                 | 36 to 43       | Mouth ahead of the hand's nominal centre   |
    | `socket_y_mm`                 | -12 to 12      | Mouth sideways                             |
    | `socket_z_mm`                 | -2 to 2        | Mouth above the hand's nominal centre      |
    | `socket_yaw_deg`              | -10 to 10      | Socket yaw                                 |

    `reset(options=...)` fixes any of them for one episode, and the `connector`; fixing a part
    of the grasp settles a new one, which takes about ten control steps.

    ## Domain Randomization

    Off unless asked for. With `domain_randomization=DomainRandomizationConfig()` each world
    draws these at each of its resets, after its initial state, uniformly and independently;
    `DomainRandomizationConfig.only(clearance_mm=(0.2, 0.8))` draws one of them alone. The
    observation does not tell what was drawn; `simulation.domain` does.

    | Field of `DomainRandomizationConfig` | Default range | Without | What                    |
    |--------------------------------------|---------------|---------|-------------------------|
    | `connector_friction`                 | 0.1 to 0.3    | 0.2     | Plug against socket     |
    | `pad_friction`                       | 1 to 2        | 1.5     | Plug against gel        |
    | `clearance_mm`                       | 0.3 to 0.6    | own fit | One of eight sockets    |
    | `plug_mass_g`                        | 10 to 20      | 14      | Plug and a bit of cable |
    | `gel_stiffness`                      | 0.8 to 1.25   | 1       | In parts of the usual   |
    | `camera_shift_mm`                    | -1 to 1       | 0       | Along each world axis   |
    | `camera_tilt_deg`                    | -0.5 to 0.5   | 0       | About each camera axis  |
    | `depth_noise_mm`                     | 0.5 to 1.5    | 1       | As the argument         |

    `clearance_mm` and `depth_noise_mm` take the place of the arguments of these names.

    ## Disturbances and Faults

    `disturbances`, a `DisturbanceConfig` or a mapping of its fields, is drawn at each reset:

    | Field of `DisturbanceConfig` | Default range | What                                          |
    |------------------------------|---------------|-----------------------------------------------|
    | `grip_force_n`               | 8 to 20       | Force with which each finger closes           |
    | `cable_force_n`              | 0 to 0        | Greatest pull of a cable on the plug's tail   |
    | `socket_pitch_deg`           | -8 to 8       | The socket about its side, nose-down          |
    | `socket_roll_deg`            | 0 to 0        | The socket about its axis                     |

    `sensor_faults` gives depth a bias, noise that neighbours share and holes at edges; the contact
    mask blurred, fraying and drifting edges and flipped pixels; taxels, markers and colours noise
    and drift; and all of touch dead pixels; off unless asked for. `"gelsight-mini"` names what
    images of real sensors tell of colours and markers. Both are drawn from the world's own
    generator, alike on both engines.

    `track="contact"` names one of `vtenv.tasks.insertion.tracks.TRACKS`, worlds that fill in
    settings which are not given.

    ## Episode End

    The episode terminates on

    1. success: at least 85% of the plug's travel is in the socket, the tip and the axis are
       within what the clearance allows, and both fingers hold the plug;
    2. failure, named in `info["failure"]`: `dropped` (no finger touches the plug), `slipped`
       (the plug is over 12 mm along, 10 mm across or 0.6 rad off its place in the hand),
       `force` (over 60 N between plug and socket), or `unstable` (MuJoCo warned).

    It is truncated after 100 steps, two seconds.

    `info` also holds `is_success`, `connector`, `insertion_depth` (m, past the mouth),
    `lateral_error` (m), `angular_error` (rad) and `contact_force` (N). A vector environment
    tells codes in the place of names, which `simulation.task.code_names` lists.

    Stepping before the first reset or after the end of an episode raises
    `gymnasium.error.ResetNeeded`.

    ## Arguments

    ```python
    import gymnasium, vtenv
    env = gymnasium.make("VTInsert-v0", connectors=("usb",), clearance_mm=0.8)
    ```

    | Parameter | Type | Default | Description |
    |---|---|---|---|
    | `connectors` | **sequence** | all four | Connectors to draw from: names, or `Connector`s |
    | `modalities` | **sequence** | the paper's three | What to observe: keys of the table above |
    | `image_size` | **int or pair** | `64` | Rows and columns of the depth image |
    | `touch_sensor` | **SensorProfile** | `"square-24mm"` | What lies on the pads; or its name |
    | `contact_size` | **int or pair** | `None` | Of a finger's images; `None`: the sensor's own |
    | `taxel_size` | **int or pair** | `16` | Rows and columns of a finger's taxels |
    | `clearance_mm` | **float** | `None` | Room on each side, 0.03 to 2; `None`: each one's own |
    | `lead_in_mm` | **float** | `None` | Width of the mouth's chamfer, likewise |
    | `contact_impedance` | **pair** | `(0.9998, 0.9999)` | How little plug and socket give |
    | `insertion_resistance` | **float** | `1.0` | Sockets' springs, in parts of their own |
    | `hand_force_n` | **float** | `30.0` | Greatest force of the hand along an axis |
    | `grip_creep` | **float** | `1.0` | How fast a loaded plug drifts in the hand, 0.5 to 5 |
    | `connector_scale` | **float** | `1.0` | Width of plugs' ends and their holes, 0.8 to 1.2 |
    | `depth_noise_mm` | **float** | `1.0` | Deviation at 0.35 m; grows as distance squared |
    | `depth_dropout` | **float** | `0.0` | Chance that a pixel on a depth edge reads 0 |
    | `depth_quantization_mm` | **float** | `0.0` | Step to which depth is rounded |
    | `action_delay` | **int** | `1` | Control steps until an action acts, 0 to 3 |
    | `observation_delay` | **int** | `1` | Control steps until it is observed, 0 to 3 |
    | `touch_delay` | **int** | `0` | Control steps by which touch is later than that, 0 to 3 |
    | `reward` | **str or callable** | `"dense"` | `dense`, `sparse`, or a function of the terms |
    | `initial_state` | **InitialStateRanges** | `None` | Ranges; None for those above |
    | `domain_randomization` | **DomainRandomizationConfig** | `None` | Ranges; None for none |
    | `disturbances` | **DisturbanceConfig** | `None` | Ranges; None for those above |
    | `sensor_faults` | **SensorFaultsConfig** | `None` | Faults, or their name; None: none |
    | `render_mode` | **str** | `None` | `rgb_array`, `human`, `depth_array` |
    | `picture` | **str** | `"scene"` | What `rgb_array` shows: `scene`, `sensors`, `depth` |
    | `width` | **int** | `640` | Of pictures of the scene, in pixels |
    | `height` | **int** | `480` | Likewise |
    | `engine` | **str** | `"cpu"` | `cpu`, or `warp`: one GPU, for many worlds |
    | `device` | **str** | `None` | Device of the Warp engine; None for `cuda:0` |

    `gymnasium.make_vec` takes the same, and `num_threads`, `autoreset_mode` and
    `max_episode_steps`; see `vtenv.vector_env.TaskVectorEnv`. Ranges may be given as mappings.

    ## Version History

    * v0: Initial version.
    """

    task_type: ClassVar[type[Any]] = InsertionTask


class VTInsertVectorEnv(TaskVectorEnv):
    """N worlds of `VTInsert-v0` in one process; see `TaskVectorEnv` and `VTInsertEnv`."""

    task_type: ClassVar[type[Any]] = InsertionTask


class VTInsertStateEnv(VTInsertEnv):
    """`VTInsertState-v0`: `VTInsert-v0` whose observation is the `state` alone, a `Box`."""

    fixed_settings: ClassVar[Mapping[str, Any]] = {"modalities": ("state",)}
    sole_observation: ClassVar[str | None] = "state"


class VTInsertStateVectorEnv(VTInsertVectorEnv):
    """N worlds of `VTInsertState-v0` in one process."""

    fixed_settings: ClassVar[Mapping[str, Any]] = VTInsertStateEnv.fixed_settings
    sole_observation: ClassVar[str | None] = VTInsertStateEnv.sole_observation

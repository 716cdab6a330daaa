"""Warp kernels of the sensors: the rays and the images of `vtenv.sensing`.

Two passes. The first turns every geom that a camera can see into a `View`, the camera's rays in
the geom's frame, and a rectangle of pixels that the geom may cover. The second runs one thread a
pixel and tests it only against the views whose rectangle holds it. Meshes have a pass of their own
between the two, so that pixels need not carry the search through a mesh where there is none.

Kernels work on the worlds of a list. Views lie in the list's order; images in their world's row.
"""

import mujoco
import warp as wp

from vtenv import sensing
from vtenv.sensing import images as sensors
from vtenv.sensing import tractions
from vtenv.sensing.photometry import SLOPE_DEGREE

DEPTH_EDGE = wp.constant(sensors.DEPTH_EDGE)
SUM_MEAN = wp.constant(sensors.NOISE_SUM_MEAN)
MAX_DEPTH = wp.constant(sensors.MAX_DEPTH)
DEGREE = wp.constant(SLOPE_DEGREE)
RAYS = wp.constant(tractions.RAYS)
WRENCH_SIZE = wp.constant(tractions.WRENCH_SIZE)
ROUNDS = wp.constant(tractions.ROUNDS)
TOLERANCE = wp.constant(tractions.TOLERANCE)
FIRM = wp.constant(tractions.FIRM)
GREATEST_FORCE = wp.constant(sensing.GREATEST_FORCE)
GREATEST_MOTION_MM = wp.constant(sensing.GREATEST_MOTION_MM)

wp.set_module_options({"enable_backward": False})

_PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
_SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
_CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_CYLINDER = wp.constant(int(mujoco.mjtGeom.mjGEOM_CYLINDER))
_BOX = wp.constant(int(mujoco.mjtGeom.mjGEOM_BOX))
_MESH = wp.constant(int(mujoco.mjtGeom.mjGEOM_MESH))
_MISS = wp.constant(1.0e10)
_ZERO = wp.constant(0.0)
_ONE = wp.constant(1.0)
_FIRST = wp.constant(0)
_STEP = wp.constant(1.0e-7)
"""Beyond a face that is seen from behind, the search for the next one starts: [m]."""


@wp.struct
class View:
    """One geom seen by one camera: the camera's rays in the geom's frame."""

    origin: wp.vec3
    by_u: wp.vec3
    by_v: wp.vec3
    way: wp.vec3
    way_u: wp.vec3
    way_v: wp.vec3
    size: wp.vec3
    kind: int


@wp.kernel
def prepare_views(
    worlds: wp.array(dtype=wp.int64),
    ids: wp.array(dtype=int),
    types: wp.array(dtype=int),
    used: wp.array2d(dtype=wp.bool),
    variant: wp.array(dtype=wp.int64),
    geom_size: wp.array2d(dtype=wp.vec3),
    geom_pos: wp.array2d(dtype=wp.vec3),
    geom_mat: wp.array2d(dtype=wp.mat33),
    camera_pos: wp.array2d(dtype=wp.vec3),
    camera_mat: wp.array2d(dtype=wp.mat33),
    cameras: wp.array(dtype=int),
    extent_u: float,
    extent_v: float,
    perspective: bool,
    height: int,
    width: int,
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
):
    """Each camera's view of each geom, and its rectangle: first row, end, first column, end."""
    entry, camera, index = wp.tid()
    world = int(worlds[entry])
    geom = ids[index]
    kind = types[index]
    size = geom_size[world % geom_size.shape[0], geom]  # one row where all worlds share it
    if kind == _SPHERE:  # a capsule without a length
        kind = _CAPSULE
        size = wp.vec3(size[0], 0.0, 0.0)
    mat = geom_mat[world, geom]
    eye_mat = camera_mat[world, cameras[camera]]
    offset = camera_pos[world, cameras[camera]] - geom_pos[world, geom]
    view = View()
    view.kind = kind
    view.size = size
    view.origin = wp.transpose(mat) * offset
    relative = wp.transpose(mat) * eye_mat
    across = wp.vec3(relative[0, 0], relative[1, 0], relative[2, 0]) * extent_u
    upward = wp.vec3(relative[0, 1], relative[1, 1], relative[2, 1]) * extent_v
    view.way = -wp.vec3(relative[0, 2], relative[1, 2], relative[2, 2])
    if perspective:
        view.way_u = across
        view.way_v = upward
    else:
        view.by_u = across
        view.by_v = upward

    low_u = -1.0
    high_u = 1.0
    low_v = -1.0
    high_v = 1.0
    if kind != _PLANE and kind != _MESH:
        half = size
        if kind == _CAPSULE:
            half = wp.vec3(size[0], size[0], size[1] + size[0])
        elif kind == _CYLINDER:
            half = wp.vec3(size[0], size[0], size[1])
        low_u = 1.0e9
        high_u = -1.0e9
        low_v = 1.0e9
        high_v = -1.0e9
        for corner in range(8):
            x = wp.where((corner & 1) != 0, half[0], -half[0])
            y = wp.where((corner & 2) != 0, half[1], -half[1])
            z = wp.where((corner & 4) != 0, half[2], -half[2])
            seen = wp.transpose(eye_mat) * (mat * wp.vec3(x, y, z) - offset)
            away = 1.0
            if perspective:
                away = wp.max(-seen[2], 1.0e-6)
            low_u = wp.min(low_u, seen[0] / (extent_u * away))
            high_u = wp.max(high_u, seen[0] / (extent_u * away))
            low_v = wp.min(low_v, seen[1] / (extent_v * away))
            high_v = wp.max(high_v, seen[1] / (extent_v * away))
    rectangle = wp.vec4i(0, 0, 0, 0)
    if used[int(variant[world]), index]:
        rectangle = wp.vec4i(
            int(wp.ceil((1.0 - high_v) * 0.5 * float(height) - 0.501)),
            int(wp.floor((1.0 - low_v) * 0.5 * float(height) - 0.499)) + 1,
            int(wp.ceil((low_u + 1.0) * 0.5 * float(width) - 0.501)),
            int(wp.floor((high_u + 1.0) * 0.5 * float(width) - 0.499)) + 1,
        )
    pixels[entry, camera, index] = rectangle
    views[entry, camera, index] = view


@wp.func
def _hit_box(o: wp.vec3, d: wp.vec3, h: wp.vec3) -> float:
    near = -1.0e10
    far = 1.0e10
    for k in range(3):
        inverse = 1.0 / d[k]
        a = (-h[k] - o[k]) * inverse
        b = (h[k] - o[k]) * inverse
        near = wp.max(near, wp.min(a, b))
        far = wp.min(far, wp.max(a, b))
    return wp.where(near <= far, near, _MISS)


@wp.func
def _hit_sphere(o: wp.vec3, d: wp.vec3, radius: float) -> float:
    a = wp.dot(d, d)
    b = wp.dot(o, d) / a
    p = o - b * d
    rest = radius * radius - wp.dot(p, p)
    if rest < 0.0:
        return _MISS
    return -b - wp.sqrt(rest / a)


@wp.func
def _hit_tube(o: wp.vec3, d: wp.vec3, radius: float) -> float:
    a = d[0] * d[0] + d[1] * d[1]
    if a < 1.0e-12:
        return _MISS
    b = (o[0] * d[0] + o[1] * d[1]) / a
    x = o[0] - b * d[0]
    y = o[1] - b * d[1]
    rest = radius * radius - (x * x + y * y)
    if rest < 0.0:
        return _MISS
    return -b - wp.sqrt(rest / a)


@wp.func
def _hit(kind: int, o: wp.vec3, d: wp.vec3, size: wp.vec3) -> float:
    if kind == _BOX:
        return _hit_box(o, d, size)
    if kind == _PLANE:
        return wp.where(d[2] < 0.0 and o[2] > 0.0, -o[2] / d[2], _MISS)
    tube = _hit_tube(o, d, size[0])
    if wp.abs(o[2] + tube * d[2]) <= size[1]:
        return tube
    if kind == _CAPSULE:
        top = _hit_sphere(o - wp.vec3(0.0, 0.0, size[1]), d, size[0])
        bottom = _hit_sphere(o + wp.vec3(0.0, 0.0, size[1]), d, size[0])
        return wp.min(top, bottom)
    if wp.abs(d[2]) < 1.0e-12:
        return _MISS
    end = wp.where(d[2] > 0.0, -size[1], size[1])
    s = (end - o[2]) / d[2]
    x = o[0] + s * d[0]
    y = o[1] + s * d[1]
    return wp.where(x * x + y * y <= size[0] * size[0], s, _MISS)


@wp.kernel
def cast_meshes(
    worlds: wp.array(dtype=wp.int64),
    variant: wp.array(dtype=wp.int64),
    meshes: wp.array2d(dtype=wp.uint64),
    views: wp.array3d(dtype=View),
    depth: wp.array4d(dtype=float),
):
    """Depth of meshes in the list's order, as `vtenv.sensing.meshes.cast_meshes`.

    A face that is seen from behind hides nothing. Meshes are by variant; 0 is none.
    """
    entry, camera, row, column = wp.tid()
    u = 2.0 * (float(column) + 0.5) / float(depth.shape[3]) - 1.0
    v = 1.0 - 2.0 * (float(row) + 0.5) / float(depth.shape[2])
    nearest = float(_MISS)
    for index in range(meshes.shape[1]):
        mesh = meshes[int(variant[int(worlds[entry])]), index]
        view = views[entry, camera, index]
        origin = view.origin + u * view.by_u + v * view.by_v
        way = view.way + u * view.way_u + v * view.way_v
        unit = wp.length(way)  # of the ray, for each of planar depth
        way = way / unit
        along = float(_ZERO)
        searching = mesh != wp.uint64(0)
        while searching:
            hit = wp.mesh_query_ray(mesh, origin + along * way, way, nearest * unit - along)
            searching = hit.result and hit.sign < 0.0
            if searching:
                along += hit.t + _STEP
            elif hit.result:
                nearest = (along + hit.t) / unit
    depth[entry, camera, row, column] = nearest


@wp.func
def _nearest(
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
    meshes: wp.array4d(dtype=float),
    entry: int,
    camera: int,
    row: int,
    column: int,
    height: int,
    width: int,
) -> float:
    u = 2.0 * (float(column) + 0.5) / float(width) - 1.0
    v = 1.0 - 2.0 * (float(row) + 0.5) / float(height)
    nearest = float(_MISS)
    if meshes.shape[3] == width:  # otherwise there are none
        nearest = meshes[entry, camera, row, column]
    for index in range(views.shape[2]):
        # Apart from the views, which most pixels need not read.
        r = pixels[entry, camera, index]
        if row >= r[0] and row < r[1] and column >= r[2] and column < r[3]:
            view = views[entry, camera, index]
            o = view.origin + u * view.by_u + v * view.by_v
            d = view.way + u * view.way_u + v * view.way_v
            distance = _hit(view.kind, o, d, view.size)
            if distance >= 0.0:
                nearest = wp.min(nearest, distance)
    return nearest


@wp.func
def hash_pixel(seed: wp.uint64, pixel: int) -> wp.uint64:
    """Random bits for a pixel, as `sensors.hash_pixels`."""
    z = seed + wp.uint64(pixel + 1) * wp.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> wp.uint64(30))) * wp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> wp.uint64(27))) * wp.uint64(0x94D049BB133111EB)
    return z ^ (z >> wp.uint64(31))


@wp.kernel
def cast_depth(
    rows: wp.array(dtype=wp.int64),
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
    meshes: wp.array4d(dtype=float),
    clean: wp.array4d(dtype=float),
):
    """Depth of the nearest surface alone."""
    entry, camera, row, column = wp.tid()
    z = _nearest(views, pixels, meshes, entry, camera, row, column, clean.shape[2], clean.shape[3])
    clean[int(rows[entry]), camera, row, column] = z


@wp.func
def _is_edge(clean: wp.array4d(dtype=float), world: int, row: int, column: int) -> bool:
    z = clean[world, 0, row, column]
    edge = False
    if row > 0:
        edge = edge or wp.abs(z - clean[world, 0, row - 1, column]) > DEPTH_EDGE
    if row < clean.shape[2] - 1:
        edge = edge or wp.abs(z - clean[world, 0, row + 1, column]) > DEPTH_EDGE
    if column > 0:
        edge = edge or wp.abs(z - clean[world, 0, row, column - 1]) > DEPTH_EDGE
    if column < clean.shape[3] - 1:
        edge = edge or wp.abs(z - clean[world, 0, row, column + 1]) > DEPTH_EDGE
    return edge


@wp.kernel
def add_noise(
    worlds: wp.array(dtype=wp.int64),
    clean: wp.array4d(dtype=float),
    seeds: wp.array(dtype=wp.uint64),
    noise_mm: wp.array(dtype=float),
    noise_scale: float,
    dropout: float,
    quantization: float,
    out: wp.array4d(dtype=float),
):
    """What the overhead camera reports of the true depth, as `sensors.depth_images`."""
    entry, row, column = wp.tid()
    world = int(worlds[entry])
    pixel = row * clean.shape[3] + column
    z = clean[world, 0, row, column]
    if z >= _MISS:
        out[world, 0, row, column] = 0.0
        return
    if dropout > 0.0 and _is_edge(clean, world, row, column):
        bits = hash_pixel(wp.invert(seeds[world]), pixel)
        if float(bits >> wp.uint64(40)) * 5.9604645e-8 < dropout:
            out[world, 0, row, column] = 0.0
            return
    if noise_mm[world] > 0.0:
        bits = hash_pixel(seeds[world], pixel)
        mask = wp.uint64(0xFFFF)
        total = wp.int64(bits & mask)
        total += wp.int64((bits >> wp.uint64(16)) & mask)
        total += wp.int64((bits >> wp.uint64(32)) & mask)
        total += wp.int64(bits >> wp.uint64(48))
        z += float(total - wp.int64(SUM_MEAN)) * noise_scale * noise_mm[world] * z * z
    if quantization > 1.0e-8:
        z = wp.rint(z / quantization) * quantization
    out[world, 0, row, column] = wp.clamp(z, 0.0, MAX_DEPTH)


@wp.func
def _normal_force(on: wp.vec3, mat: wp.mat33, at_rest: float) -> float:
    """Normal force on a pad, as `foundation.normal_force`."""
    if wp.length_sq(on) == 0.0:
        return at_rest
    return -wp.dot(on, wp.vec3(mat[0, 2], mat[1, 2], mat[2, 2]))


@wp.kernel
def press_gels(
    worlds: wp.array(dtype=wp.int64),
    distance: wp.array4d(dtype=float),
    thickness: float,
    softness: float,
    readings: wp.array2d(dtype=float),
    first_reading: int,
    camera_mat: wp.array2d(dtype=wp.mat33),
    cameras: wp.array(dtype=int),
    at_rest: wp.array2d(dtype=float),
    shift: wp.array2d(dtype=float),
):
    """How far what gels see moves into them, as `foundation.press_gels`, in [m]."""
    entry, pad = wp.tid()
    world = int(worlds[entry])
    mat = camera_mat[world, cameras[pad]]
    first = first_reading + pad * WRENCH_SIZE
    on = wp.vec3(readings[world, first], readings[world, first + 1], readings[world, first + 2])
    force = _normal_force(on, mat, at_rest[world, pad])
    total = wp.max(force, 0.0) * softness
    moved = float(_MISS)
    count = int(_FIRST) - 1
    touched = int(_FIRST)
    while touched != count:
        if touched > 0:
            count = touched
        touched = int(_FIRST)
        overlap = float(_ZERO)
        for row in range(distance.shape[2]):
            for column in range(distance.shape[3]):
                z = distance[world, pad, row, column]
                if z < _MISS and thickness - z + moved > 0.0:
                    overlap += thickness - z
                    touched += 1
        if touched == 0:
            count = 0
        elif touched != count:
            moved = (total - overlap) / float(touched)
    shift[world, pad] = wp.where(moved < _MISS, moved, 0.0)


@wp.kernel
def cast_gel(
    worlds: wp.array(dtype=wp.int64),
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
    meshes: wp.array4d(dtype=float),
    shift: wp.array2d(dtype=float),
    thickness_mm: float,
    threshold_mm: float,
    keep_gel: bool,
    gel: wp.array4d(dtype=float),
    contact: wp.array4d(dtype=wp.uint8),
):
    """Indentation of the gel and the contact mask, as `sensors.gel_images`."""
    entry, camera, row, column = wp.tid()
    world = int(worlds[entry])
    height = contact.shape[2]
    width = contact.shape[3]
    z = _nearest(views, pixels, meshes, entry, camera, row, column, height, width)
    z -= shift[world, camera]
    pressed = wp.clamp(thickness_mm - z * 1000.0, 0.0, thickness_mm)
    if keep_gel:
        gel[world, camera, row, column] = pressed
    contact[world, camera, row, column] = wp.where(pressed > threshold_mm, wp.uint8(1), wp.uint8(0))


@wp.kernel
def cast_taxels(
    worlds: wp.array(dtype=wp.int64),
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
    meshes: wp.array4d(dtype=float),
    shift: wp.array2d(dtype=float),
    thickness: float,
    pressed: wp.array4d(dtype=float),
):
    """Indentation of taxels, as `tractions.press_taxels`."""
    entry, pad, row, column = wp.tid()
    world = int(worlds[entry])
    height = RAYS * pressed.shape[2]
    width = RAYS * pressed.shape[3]
    total = float(_ZERO)
    for i in range(RAYS):
        for j in range(RAYS):
            z = _nearest(
                views, pixels, meshes, entry, pad, RAYS * row + i, RAYS * column + j, height, width
            )
            total += wp.max(thickness - z + shift[world, pad], 0.0)
    pressed[world, pad, row, column] = 1.0e3 * total / float(RAYS * RAYS)


@wp.func
def _repeats(worlds: wp.array(dtype=wp.int64), entry: int) -> bool:
    # Lists are filled up with their first world, of which only one thread may change the memory.
    return entry > 0 and worlds[entry] == worlds[0]


@wp.kernel
def spread_forces(
    worlds: wp.array(dtype=wp.int64),
    pressed: wp.array4d(dtype=float),
    readings: wp.array2d(dtype=float),
    first_reading: int,
    camera_pos: wp.array2d(dtype=wp.vec3),
    camera_mat: wp.array2d(dtype=wp.mat33),
    cameras: wp.array(dtype=int),
    half_width: float,
    half_height: float,
    friction: wp.array(dtype=float),
    at_rest: wp.array2d(dtype=float),
    traction: wp.array4d(dtype=float),
    shear: wp.array4d(dtype=float),
):
    """Spread wrenches over taxels, as `tractions.spread_forces`."""
    entry, pad = wp.tid()
    if _repeats(worlds, entry):
        return
    world = int(worlds[entry])
    rows = pressed.shape[2]
    columns = pressed.shape[3]
    first = first_reading + pad * WRENCH_SIZE
    on = wp.vec3(readings[world, first], readings[world, first + 1], readings[world, first + 2])
    about = wp.vec3(
        readings[world, first + 3], readings[world, first + 4], readings[world, first + 5]
    )
    at = wp.vec3(readings[world, first + 6], readings[world, first + 7], readings[world, first + 8])
    inverse = wp.transpose(camera_mat[world, cameras[pad]])
    force = inverse * on
    turning = inverse * about
    away = inverse * (at - camera_pos[world, cameras[pad]])
    force_x = -force[0]
    force_y = force[1]
    force_z = _normal_force(on, camera_mat[world, cameras[pad]], at_rest[world, pad])
    torque = turning[2] + away[0] * force_y + away[1] * force_x

    total = float(_ZERO)
    for row in range(rows):
        for column in range(columns):
            total += pressed[world, pad, row, column]
    scale = float(_ZERO)
    if total > 0.0 and force_z > 0.0:
        scale = force_z / total
    for row in range(rows):
        for column in range(columns):
            limit = friction[world] * scale * pressed[world, pad, row, column]
            x = traction[world, 2 * pad, row, column]
            y = traction[world, 2 * pad + 1, row, column]
            size = wp.sqrt(x * x + y * y)
            if size > limit:
                traction[world, 2 * pad, row, column] = x * limit / size
                traction[world, 2 * pad + 1, row, column] = y * limit / size

    for attempt in range(ROUNDS):
        rest_x = float(force_x)
        rest_y = float(force_y)
        rest = float(torque)
        count = float(_ZERO)
        sum_x = float(_ZERO)
        sum_y = float(_ZERO)
        squares = float(_ZERO)
        for row in range(rows):
            y = (2.0 * (float(row) + 0.5) / float(rows) - 1.0) * half_height
            for column in range(columns):
                limit = friction[world] * scale * pressed[world, pad, row, column]
                if limit > 0.0:
                    x = (2.0 * (float(column) + 0.5) / float(columns) - 1.0) * half_width
                    on_x = traction[world, 2 * pad, row, column]
                    on_y = traction[world, 2 * pad + 1, row, column]
                    rest_x -= on_x
                    rest_y -= on_y
                    rest -= x * on_y - y * on_x
                    if attempt == 0 or wp.sqrt(on_x * on_x + on_y * on_y) < FIRM * limit:
                        count += 1.0
                        sum_x += x
                        sum_y += y
                        squares += x * x + y * y
        enough = TOLERANCE * force_z
        if count == 0.0 or (
            wp.max(wp.abs(rest_x), wp.abs(rest_y)) < enough and wp.abs(rest) < enough * half_width
        ):
            break
        middle_x = sum_x / count
        middle_y = sum_y / count
        inertia = squares - count * (middle_x * middle_x + middle_y * middle_y)
        turn = float(_ZERO)
        if inertia > 1.0e-9:
            turn = (rest - middle_x * rest_y + middle_y * rest_x) / inertia
        for row in range(rows):
            y = (2.0 * (float(row) + 0.5) / float(rows) - 1.0) * half_height
            for column in range(columns):
                limit = friction[world] * scale * pressed[world, pad, row, column]
                on_x = traction[world, 2 * pad, row, column]
                on_y = traction[world, 2 * pad + 1, row, column]
                sticks = attempt == 0 or wp.sqrt(on_x * on_x + on_y * on_y) < FIRM * limit
                if limit > 0.0 and sticks:
                    x = (2.0 * (float(column) + 0.5) / float(columns) - 1.0) * half_width
                    on_x += rest_x / count - turn * (y - middle_y)
                    on_y += rest_y / count + turn * (x - middle_x)
                    size = wp.sqrt(on_x * on_x + on_y * on_y)
                    part = wp.min(1.0, limit / wp.max(size, 1.0e-12))
                    traction[world, 2 * pad, row, column] = on_x * part
                    traction[world, 2 * pad + 1, row, column] = on_y * part

    if shear.shape[1] > 1:  # somebody asked for it
        for row in range(rows):
            for column in range(columns):
                normal = scale * pressed[world, pad, row, column]
                shear[world, 3 * pad, row, column] = wp.min(normal, GREATEST_FORCE)
                for axis in range(2):
                    shear[world, 3 * pad + 1 + axis, row, column] = wp.clamp(
                        traction[world, 2 * pad + axis, row, column],
                        -GREATEST_FORCE,
                        GREATEST_FORCE,
                    )


@wp.kernel
def move_markers(
    worlds: wp.array(dtype=wp.int64),
    pressed: wp.array4d(dtype=float),
    traction: wp.array4d(dtype=float),
    by_rows: wp.array3d(dtype=float),
    by_columns: wp.array3d(dtype=float),
    markers: wp.array4d(dtype=float),
):
    """Displacement of the markers, as `tractions.move_markers`; kernels as in `MarkerKernels`."""
    entry, pad, i, j = wp.tid()
    world = int(worlds[entry])
    x = float(_ZERO)
    y = float(_ZERO)
    for row in range(pressed.shape[2]):
        for column in range(pressed.shape[3]):
            deep = pressed[world, pad, row, column]
            if deep > 0.0:
                shear = by_rows[0, i, row] * by_columns[0, j, column]
                x += shear * traction[world, 2 * pad, row, column]
                y += shear * traction[world, 2 * pad + 1, row, column]
                x += by_rows[1, i, row] * by_columns[2, j, column] * deep
                y += by_rows[2, i, row] * by_columns[1, j, column] * deep
    markers[world, 2 * pad, i, j] = wp.clamp(x, -GREATEST_MOTION_MM, GREATEST_MOTION_MM)
    markers[world, 2 * pad + 1, i, j] = wp.clamp(y, -GREATEST_MOTION_MM, GREATEST_MOTION_MM)


@wp.func
def _mirrored(index: int, size: int) -> int:
    i = wp.abs(index)
    if i >= size:
        i = 2 * size - 2 - i
    return wp.clamp(i, 0, size - 1)


@wp.kernel
def blur_gel(
    worlds: wp.array(dtype=wp.int64),
    gel: wp.array4d(dtype=float),
    source: wp.array4d(dtype=float),
    taps: wp.array2d(dtype=float),
    radii: wp.array(dtype=wp.int64),
    blur: int,
    along_rows: bool,
    restores: bool,
    out: wp.array4d(dtype=float),
):
    """One axis of one Gaussian of the membrane, as `membrane.stretch`."""
    entry, pad, row, column = wp.tid()
    world = int(worlds[entry])
    if restores and gel[world, pad, row, column] > 0.0:
        out[world, pad, row, column] = gel[world, pad, row, column]
        return
    radius = int(radii[blur])
    at = wp.where(along_rows, row, column)
    size = wp.where(along_rows, gel.shape[2], gel.shape[3])
    near_edge = at < radius or at + radius >= size
    total = float(_ZERO)
    for tap in range(2 * radius + 1):
        there = at + tap - radius
        if near_edge:
            there = _mirrored(there, size)
        if along_rows:
            total += taps[blur, tap] * source[world, pad, there, column]
        else:
            total += taps[blur, tap] * source[world, pad, row, there]
    out[world, pad, row, column] = total


@wp.kernel
def take_membrane(
    worlds: wp.array(dtype=wp.int64),
    surface: wp.array4d(dtype=float),
    threshold_mm: float,
    gel: wp.array4d(dtype=float),
    contact: wp.array4d(dtype=wp.uint8),
):
    """The membrane's depth in place of the indentation, as `membrane.stretch_gels`."""
    entry, pad, row, column = wp.tid()
    world = int(worlds[entry])
    deep = surface[world, pad, row, column]
    gel[world, pad, row, column] = deep
    contact[world, pad, row, column] = wp.where(deep > threshold_mm, wp.uint8(1), wp.uint8(0))


@wp.kernel
def colour_gel(
    worlds: wp.array(dtype=wp.int64),
    surface: wp.array4d(dtype=float),
    half: float,
    steepest: float,
    deepest: float,
    coefficients: wp.array4d(dtype=float),
    background: wp.array3d(dtype=wp.uint8),
    rgb: wp.array4d(dtype=wp.uint8),
):
    """Colours of the membrane, as `colour.colour_images`; `half` is 0.5 over a pixel's pitch."""
    entry, pad, row, column = wp.tid()
    world = int(worlds[entry])
    depth = wp.clamp(surface[world, pad, row, column], 0.0, deepest)
    before = wp.max(column - 1, 0)
    after = wp.min(column + 1, surface.shape[3] - 1)
    x = surface[world, pad, row, after] - surface[world, pad, row, before]
    x *= half * 2.0 / float(wp.max(after - before, 1))
    before = wp.max(row - 1, 0)
    after = wp.min(row + 1, surface.shape[2] - 1)
    y = surface[world, pad, after, column] - surface[world, pad, before, column]
    y *= half * 2.0 / float(wp.max(after - before, 1))
    if depth == 0.0 and x == 0.0 and y == 0.0:  # most pixels, which need not read polynomials
        for k in range(3):
            rgb[world, 3 * pad + k, row, column] = background[k, row, column]
        return
    part = wp.min(1.0, steepest / wp.max(wp.sqrt(x * x + y * y), 1.0e-9))
    x *= part
    y *= part
    change = wp.vec3(0.0, 0.0, 0.0)
    term = int(_FIRST)
    power_x = float(_ONE)
    for i in range(DEGREE + 1):
        value = float(power_x)
        for j in range(DEGREE + 1 - i):
            if i + j > 0:
                for k in range(3):
                    change[k] += value * coefficients[row, k, term, column]
                term += 1
            value *= y
        power_x *= x
    for k in range(3):
        change[k] += depth * coefficients[row, k, term, column]
        change[k] += depth * x * coefficients[row, k, term + 1, column]
        change[k] += depth * y * coefficients[row, k, term + 2, column]
        level = wp.rint(float(background[k, row, column]) + change[k])
        rgb[world, 3 * pad + k, row, column] = wp.uint8(wp.clamp(level, 0.0, 255.0))

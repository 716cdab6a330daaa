"""Warp kernels of the sensors: the rays and the images of `vtenv.sensing`.

Two passes. The first turns every geom that a camera can see into a `View`, the camera's rays in
the geom's frame, and a rectangle of pixels that the geom may cover. The second runs one thread a
pixel and tests it only against the views whose rectangle holds it.

Kernels work on the worlds of a list. Views lie in the list's order; images in their world's row.
"""

import mujoco
import warp as wp

from vtenv.sensing import images as sensors

DEPTH_EDGE = wp.constant(sensors.DEPTH_EDGE)
SUM_MEAN = wp.constant(sensors.NOISE_SUM_MEAN)
MAX_DEPTH = wp.constant(sensors.MAX_DEPTH)

wp.set_module_options({"enable_backward": False})

_PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
_CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_CYLINDER = wp.constant(int(mujoco.mjtGeom.mjGEOM_CYLINDER))
_BOX = wp.constant(int(mujoco.mjtGeom.mjGEOM_BOX))
_MISS = wp.constant(1.0e10)


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
    first_camera: int,
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
    mat = geom_mat[world, geom]
    eye_mat = camera_mat[world, first_camera + camera]
    offset = camera_pos[world, first_camera + camera] - geom_pos[world, geom]
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
    if kind != _PLANE:
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


@wp.func
def _nearest(
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
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
    clean: wp.array4d(dtype=float),
):
    """Noise-free depth; the image follows in `add_noise`, which looks at neighbours."""
    entry, row, column = wp.tid()
    z = _nearest(views, pixels, entry, 0, row, column, clean.shape[2], clean.shape[3])
    clean[int(rows[entry]), 0, row, column] = z


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


@wp.kernel
def cast_gel(
    worlds: wp.array(dtype=wp.int64),
    views: wp.array3d(dtype=View),
    pixels: wp.array3d(dtype=wp.vec4i),
    thickness_mm: float,
    threshold_mm: float,
    keep_gel: bool,
    gel: wp.array4d(dtype=float),
    contact: wp.array4d(dtype=wp.uint8),
):
    """Indentation of the gel and the contact mask, as `sensors.gel_images`."""
    entry, camera, row, column = wp.tid()
    world = int(worlds[entry])
    z = _nearest(views, pixels, entry, camera, row, column, contact.shape[2], contact.shape[3])
    pressed = wp.clamp(thickness_mm - z * 1000.0, 0.0, thickness_mm)
    if keep_gel:
        gel[world, camera, row, column] = pressed
    contact[world, camera, row, column] = wp.where(pressed > threshold_mm, wp.uint8(1), wp.uint8(0))

#!/usr/bin/env bash
# What markers, shear and rgb cost on a GPU, and one encoder for each sense, probed. Left out of a release.
#   bash scripts/gpu_touch.sh OUT [FRAMES MINUTES ENGINE]
set -u
out=$1 frames=${2:-60000} minutes=${3:-1.5} engine=${4:-warp}
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}. OMP_NUM_THREADS=8
vtinsert="python -m policies.cli" work=$(mktemp -d)
if [ "$engine" = warp ]; then
  # The same machine and run: each sense beside the default's depth and contact.
  timeout 420 python - "$out/touch-speed.json" <<'PY'
import json, sys, time
import torch
from vtenv.tasks.insertion.env import VTInsertVectorEnv
base, worlds, found = ("depth", "contact", "proprio"), 4096, {}
for name, more in {"default": (), "markers": ("markers",), "shear": ("shear",), "rgb": ("rgb",),
                   "rgb+markers": ("rgb", "markers"), "default again": ()}.items():
    envs = VTInsertVectorEnv(worlds, engine="warp", device="cuda:0", modalities=base + more)
    envs.reset(seed=0)
    actions = torch.rand(worlds, 5, device="cuda:0") * 2 - 1
    for _ in range(30): envs.step(actions)
    torch.cuda.synchronize(); start = time.perf_counter()
    for _ in range(100): envs.step(actions)
    torch.cuda.synchronize(); found[name] = round(100 * worlds / (time.perf_counter() - start))
    envs.close(); del envs; torch.cuda.empty_cache()
    json.dump({"device": torch.cuda.get_device_name(), "steps a second": found}, open(sys.argv[1], "w"), indent=1)
    print(name, found[name], flush=True)
PY
fi
accelerator=$([ "$engine" = warp ] && echo cuda || echo cpu)
timeout 240 $vtinsert dataset experience --engine "$engine" --frames "$frames" --seed 0 \
  --modalities depth contact markers shear rgb proprio --output "$work/data" || exit 1
for sense in contact markers rgb "contact markers rgb"; do
  name=$(echo "$sense" | tr ' ' '+')
  timeout 200 $vtinsert pretrain --data "$work/data" --preset control-resnet-pose --modalities depth $sense \
    --augment every --max-minutes "$minutes" --accelerator $accelerator --output "$work/$name"
  timeout 120 $vtinsert probe "$work/$name" --data "$work/data" --rows 8000 --no-baselines \
    --device $([ "$engine" = warp ] && echo cuda:0 || echo cpu) --output "$work/probe-$name"
  cp "$work/probe-$name/measurements.csv" "$out/probe-$name.csv" || true
done
rm -rf "$work"

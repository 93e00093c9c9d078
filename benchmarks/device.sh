#!/bin/bash
# Check and measure innflow on a CUDA machine in under 8 minutes, without any download.
#
#   bash benchmarks/device.sh                      on CUDA; DEVICE=cpu QUICK=1 tries the script on a CPU
#
# Writes device.md and device.json to $OUT (outputs/device). PYTHON is the interpreter that has torch
# (.venv/bin/python or python3); WHEELS a folder of wheels for packages it lacks. Each part has its own
# time limit; the exit code is 1 if any part failed.
set -u
cd "$(dirname "$0")/.." || exit 2
export DEVICE=${DEVICE:-cuda} QUICK=${QUICK:-0} PYTHONUNBUFFERED=1
OUT=${OUT:-outputs/device}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
[ "$DEVICE" = cpu ] && accelerator=cpu || accelerator=gpu
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
rm -f "$OUT"/*.jsonl "$OUT"/*.log "$OUT"/device.* && : > "$OUT/parts.jsonl"
started=$SECONDS failed=0 total=${TOTAL:-460}

# part NAME LIMIT COMMAND...: run a part with a time limit in seconds, and note how it ended
part() {
  local name=$1 limit=$2 begun=$SECONDS left=$((total - SECONDS + started)) code
  shift 2
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 5 ]; then
    echo "no time left" > "$OUT/$name.log"
    code=124
  else
    timeout -k 5 "$limit" "$@" > "$OUT/$name.log" 2>&1
    code=$?
    [ $code -eq 124 ] && echo "stopped at its limit of $limit s" >> "$OUT/$name.log"
  fi
  echo "{\"part\": \"$name\", \"seconds\": $((SECONDS - begun)), \"code\": $code}" >> "$OUT/parts.jsonl"
  echo "$name: exit code $code after $((SECONDS - begun)) s: $(grep . "$OUT/$name.log" | tail -n 1)"
  return $code
}

# train NAME LIMIT OVERRIDES...: train an experiment on the device and check its numbers
train() {
  local name=$1 limit=$2 run="$work/$1"
  shift 2
  part "$name" "$limit" bash -c '"$1" -c "from innflow.command.main import train; train()" \
    "${@:4}" && "$1" -m benchmarks.device trained "$3"' - "$python" - "$run" "$@" run_dir="$run" \
    trainer.accelerator=$accelerator trainer.devices=1 analysis=none score=none \
    paths.cache="$work/cache"
}

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if ! "$python" -c "import innflow.conf, nflows, hydra" 2> /dev/null; then
  part install 60 "$python" -m pip install -q --no-index --no-deps --no-build-isolation \
    --target "$work/site" . ${WHEELS:+"$WHEELS"/*.whl} || failed=1
  export PYTHONPATH="$PYTHONPATH:$work/site"
fi

if [ "$QUICK" = 1 ]; then
  span="trainer.max_time=null trainer.max_steps=40 trainer.log_every_n_steps=10" speed="quick=true only=affine,glow"
  drawn="data.n_train=200 data.n_test=20 data.n_outliers=2"
else
  span="trainer.max_time=00:00:01:00 trainer.max_epochs=10000" speed="only=affine,spline,glow,memory rounds=7" drawn=""
fi
part see 40 "$python" -m benchmarks.device see "$OUT" || failed=1
part laws 90 "$python" -m benchmarks.device laws "$OUT" || failed=1
# shellcheck disable=SC2086
(train moons 130 +experiment=moons $span) &
moons=$!
# shellcheck disable=SC2086
train cats_glow 130 +experiment=cats_glow data=simcats $drawn $span || failed=1
wait $moons || failed=1
part compiles 120 "$python" -m benchmarks.device compiles "$OUT" || failed=1
# shellcheck disable=SC2086
part speed 120 "$python" -m benchmarks device=$DEVICE threads=1 allocator=default \
  without=compiled $speed out="$OUT/speed" || failed=1
# shellcheck disable=SC2086
[ "$QUICK" = 1 ] || part speed_compiled 120 "$python" -m benchmarks device=$DEVICE threads=1 \
  allocator=default only=glow without=contiguous limit=30 rounds=7 out="$OUT/speed_compiled" || failed=1
"$python" -m benchmarks.device page "$OUT" || failed=1
echo "$OUT/device.md after $((SECONDS - started)) s"
exit $failed

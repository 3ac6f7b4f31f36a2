#!/bin/sh
# Makes models/demo.gguf from nothing: text, tokenizer, training, export, evaluation.
#   tools/demo_model/run.sh                     everything, at most 90 minutes on two CPU cores
#   STEPS=500 TOKENS=3 EVERY=20 OUT=/tmp/demo.gguf tools/demo_model/run.sh  a rehearsal in ten minutes
#   MINUTES=70                                  training stops after so long even if the machine is slow or busy
#   START=models/demo.gguf RATE=0.42 SEED=501   goes on with a trained model and its tokenizer, on new text of the same kind;
#                                               a model of fewer layers than model.py says grows first
#   BITS=Q8_0                                   how the matrices are written: Q5_0 if not given, Q8_0 or F32
#   THREADS=1                                   computing threads, two if not given
#   CORRAL=/path/to/corral                      serves the evaluation; build/corral where it was built, else PyTorch answers
#   OUT=file.gguf                               writes the model elsewhere and leaves the repository alone
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${BUILD:-/tmp/corral-demo-model}
steps=${STEPS:-10000}
minutes=${MINUTES:-70}
tokens=${TOKENS:-41}
out=${OUT:-$root/models/demo.gguf}
start=${START:+$(realpath "$START")}
if [ -z "${CORRAL:-}" ] && [ -x "$root/build/corral" ]; then
    CORRAL=$root/build/corral
fi
export CORRAL="${CORRAL:-}"

mkdir -p "$build" "$root/models" "$root/docs/img"
if [ ! -x "$build/venv/bin/python" ]; then
    /usr/bin/python3 -m venv --system-site-packages "$build/venv"
    "$build/venv/bin/pip" install --quiet -r "$here/requirements.txt"
fi
python="$build/venv/bin/python"
export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
"$python" -c 'import torch' || { echo "install PyTorch first: apt install python3-torch libopenblas0-pthread"; exit 1; }

cd "$here"
"$python" check.py
rm -f "$build/tokenizer.json"
if [ "$start" ]; then
    "$python" -c "import sys, load; load.load(sys.argv[1])[1].save(sys.argv[2])" "$start" "$build/tokenizer.json"
fi
"$python" corpus.py "$build" "$tokens" ${SEED:+"$SEED"}
"$python" train.py "$build" "$steps" "$minutes" ${start:+"$start"}
"$python" export.py "$build" "$out" ${BITS:+"$BITS"}
"$python" evaluate.py "$out" "$build/report.md" "${EVERY:-1}"
if [ "$out" = "$root/models/demo.gguf" ]; then
    "$python" plot.py "$build/loss.csv" "$root/docs/img/demo-loss.png"
    "$python" record.py "$build/report.md" "$root/docs/demo-model.md"
fi
echo "model: $out; report: $build/report.md; failures: $build/report.md.failures"

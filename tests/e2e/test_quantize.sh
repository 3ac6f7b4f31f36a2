#!/bin/sh
# A quantized model still says what the original says.
set -u
bad=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# same MODEL PROMPT N TYPE...: the greedy continuation stays the same in each type.
same() {
    model=$1 prompt=$2 n=$3
    shift 3
    "$CORRAL" run -m "$model" --raw -p "$prompt" -n "$n" --temp 0 >"$work/want" 2>/dev/null || bad=1
    [ -s "$work/want" ] || bad=1
    for type in "$@"; do
        if ! "$CORRAL" quantize "$model" "$work/out.gguf" "$type" --requantize --quiet >"$work/log" 2>&1; then
            echo "FAILED: quantize $model $type"
            cat "$work/log"
            bad=1
            continue
        fi
        "$CORRAL" run -m "$work/out.gguf" --raw -p "$prompt" -n "$n" --temp 0 >"$work/got" 2>/dev/null
        if ! cmp -s "$work/want" "$work/got"; then
            echo "FAILED: $model in $type says"
            cat "$work/got"
            echo "and not"
            cat "$work/want"
            bad=1
        fi
    done
}

same demo "The sun" 8 F32 BF16
if [ -r "${CORRAL_SHARED:-}/models/stories260K.gguf" ]; then
    same "$CORRAL_SHARED/models/stories260K.gguf" "Once upon a time" 40 F16 BF16 Q8_0 Q6_K
else
    echo "skipped: no stories260K.gguf under CORRAL_SHARED"
fi
exit $bad

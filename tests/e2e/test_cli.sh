#!/bin/sh
# What holds for every command: help, versions, exit statuses, completion scripts.
set -u
bad=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# want STATUS PATTERN COMMAND...: run it; its status must be STATUS and its output must match PATTERN.
want() {
    want_status=$1 pattern=$2
    shift 2
    "$@" >"$work/out" 2>&1 </dev/null
    got=$?
    if [ $got != "$want_status" ] || ! grep -q -e "$pattern" "$work/out"; then
        echo "FAILED: $* -> status $got, want $want_status and '$pattern' in:"
        cat "$work/out"
        bad=1
    fi
}

want 0 '^corral [0-9]*\.[0-9]*\.[0-9]*$' "$CORRAL" --version
want 0 'Usage: corral COMMAND' "$CORRAL" --help
want 2 'Usage: corral COMMAND' "$CORRAL"
want 0 '"accept": \[false, true\]' sh -c "echo '{\"schema\": {\"type\": \"integer\", \"minimum\": 3}, \"instances\": [2, 3]}' | '$CORRAL' schema"
want 2 "did you mean 'bench'" "$CORRAL" bnech
want 2 'unknown command' "$CORRAL" zzzz
want 2 'unknown option --jsn' "$CORRAL" --jsn
printf '{%%- for m in messages -%%}<{{ m.role }}> {{ m.content | trim }}{%%- endfor -%%}' >"$work/t.jinja"
printf '{%% if %%}' >"$work/bad.jinja"
vars='{"messages": [{"role": "user", "content": " Hi "}]}'
want 0 '^{"text": "<user> Hi"}$' sh -c "echo '$vars' | '$CORRAL' template --template '$work/t.jinja'"
want 0 '"error": "line 1, column 14: .int. object is not iterable"' \
    sh -c "echo '{\"messages\": 1}' | '$CORRAL' template --template '$work/t.jinja'"
want 1 'bad.jinja: line 1, column 7: ' "$CORRAL" template --template "$work/bad.jinja"
want 1 'input line 1: not a JSON object' sh -c "echo nonsense | '$CORRAL' template --template '$work/t.jinja'"
want 2 'want a time as' "$CORRAL" template --template "$work/t.jinja" --now tomorrow

want 0 'general.license .*apache-2.0' env -i "$CORRAL" inspect demo
want 0 'in the program' env -i "$CORRAL" doctor
want 1 'no model file' "$CORRAL" run "$work/none.gguf" -p x
want 2 'it must be 0 to 100' "$CORRAL" run -p x --temp 1e9
want 2 'did you mean --max-tokens' "$CORRAL" run --max-token 4
want 2 'none of f16|f32|q8_0' "$CORRAL" run -p x --kv-type q3
want 1 'known:' "$CORRAL" run "$CORRAL_SOURCE/models/demo.gguf" -p x --backend none
want 2 'exclude each other' "$CORRAL" run --raw --chat -p x
want 2 "CORRAL_TEMP: 'hot'" env CORRAL_TEMP=hot "$CORRAL" run -p x
want 0 '^Hello, world!$' sh -c "printf 'Hello, world!' | '$CORRAL' tokenize --bos off | '$CORRAL' detokenize"
want 0 '^"café"$' sh -c "echo '\"café\"' | '$CORRAL' tokenize --jsonl | '$CORRAL' detokenize --jsonl"
want 1 'line 1: not JSON' sh -c "echo '\"open' | '$CORRAL' tokenize --jsonl"
want 1 'token id -1 is out of range' sh -c "echo '[-1]' | '$CORRAL' detokenize"
printf 'not a model' >"$work/bad.gguf"
want 1 'bad.gguf' "$CORRAL" run "$work/bad.gguf" -p x
want 1 'cannot write' sh -c "'$CORRAL' --help >/dev/full"

for command in $("$CORRAL" --help | sed -n 's/^  \([a-z]*\)   *[a-z].*/\1/p'); do
    want 0 "Usage: corral $command " "$CORRAL" "$command" --help
done

for shell in bash zsh fish; do
    "$CORRAL" completion $shell >"$work/$shell" || bad=1
    command -v $shell >/dev/null || continue
    $shell -n "$work/$shell" || { echo "FAILED: $shell cannot read its completion script"; bad=1; }
done
want 0 '^bench$' bash -c ". '$work/bash'; COMP_WORDS=(corral ben); COMP_CWORD=1; _corral; echo \${COMPREPLY[@]}"
want 0 '^--json$' bash -c ". '$work/bash'; COMP_WORDS=(corral bench --js); COMP_CWORD=2; _corral; echo \${COMPREPLY[@]}"
want 0 '^f16 f32 fp8$' bash -c ". '$work/bash'; COMP_WORDS=(corral run --kv-type f); COMP_CWORD=3; _corral; echo \${COMPREPLY[@]}"
exit $bad

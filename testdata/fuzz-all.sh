#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other:
#
#	testdata/fuzz-all.sh [-short] <seconds for each>
#
# With -short, not those of packages that link Caddy: the build with
# instrumentation of all that Caddy needs takes minutes where it is not cached.
# What a target finds is kept in testdata/fuzz of its package, where go test
# runs it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

short=
if [[ ${1-} == -short ]]; then
	short=1
	shift
fi
[[ $# -eq 1 && $1 =~ ^[0-9]+$ ]] || {
	echo "usage: ${0##*/} [-short] <seconds>" >&2
	exit 2
}
seconds=$1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cache=$(go env GOCACHE)/fuzz

# go test -list builds the tests of a package, so only where there is something
# (the list goes by way of a variable: what fails in <(…) is not noticed)
list=$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | grep -v '/testdata' | sort -u) || {
	echo "there is no fuzz target to be found" >&2
	exit 1
}
mapfile -t folders <<<"$list"

# Now and then the fuzzing engine reports the end of the time that it was given
# as a failure: nothing but this line, and no input that fails. A target that
# hangs, panics or fails says so.
time_is_up() {
	grep -qx '    context deadline exceeded' "$scratch/log" &&
		! grep -qE 'Failing input|panic|hung|_test\.go:|fatal error' "$scratch/log"
}

count=0
failed=()
for folder in "${folders[@]}"; do
	# not grep -q, which hangs up on go list, and that counts as a failure
	if [[ $short ]] && go list -deps -test "$folder" | grep -x 'github.com/caddyserver/caddy/v2' >/dev/null; then
		echo "== $folder links Caddy: not with -short"
		continue
	fi
	echo "== $folder (${SECONDS}s)"
	# one build for all targets of the package
	go test -c -fuzz=. -vet=off -o "$scratch/fuzz.test" "$folder"
	list=$(cd "$folder" && "$scratch/fuzz.test" -test.list '^Fuzz')
	[[ $list ]] || {
		echo "$folder has none of the fuzz targets that its files name" >&2
		exit 1
	}
	mapfile -t targets <<<"$list"
	for target in "${targets[@]}"; do
		count=$((count + 1))
		if (cd "$folder" && "$scratch/fuzz.test" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="${seconds}s" \
			-test.fuzzcachedir="$cache/$(go list)" >"$scratch/log" 2>&1); then
			printf '%-24s %s\n' "$target" "$(grep '^fuzz: elapsed' "$scratch/log" | tail -1)"
		elif time_is_up; then
			printf '%-24s %s\n' "$target" "$(grep '^fuzz: elapsed' "$scratch/log" | tail -1) (ended late)"
		else
			cat "$scratch/log"
			failed+=("$folder $target")
		fi
	done
done

echo "== $count targets (${SECONDS}s)"
if ((count == 0)); then
	echo "nothing was fuzzed" >&2
	exit 1
fi
if ((${#failed[@]})); then
	printf 'failed: %s\n' "${failed[@]}"
	exit 1
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds a Caddy with popauth in it, from this checkout.
#
#   ./xcaddy-build.sh              builds ./caddy
#   ./xcaddy-build.sh demo         builds it and runs `caddy pop demo`
#   ./xcaddy-build.sh v2.12.0      builds with that version of Caddy
#
# OUT=<file>       where the binary goes (default: caddy, beside this script)
# XCADDY=<file>    the xcaddy to use (default: the one on PATH, if any)
#
# Without xcaddy, go alone does what xcaddy would: it compiles a temporary main
# module that imports Caddy and this module. With the Caddy version of go.mod
# that needs no network once the modules are downloaded.

set -euo pipefail

say() { printf 'xcaddy-build: %s\n' "$*" >&2; }
die() { say "error: $1"; [ $# -lt 2 ] || say "hint: $2"; exit 1; }
# the usage is the comment at the top
usage() { sed -n '4,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# older A B: is version A (without v) before B? A pre-release comes before its
# release; two pre-releases of one version are left to go to tell apart.
older() {
	local a=${1%%+*} b=${2%%+*} i
	local -a x y
	IFS=. read -r -a x <<<"${a%%-*}"
	IFS=. read -r -a y <<<"${b%%-*}"
	for i in 0 1 2; do
		((10#${x[i]:-0} == 10#${y[i]:-0})) || { ((10#${x[i]:-0} < 10#${y[i]:-0})); return; }
	done
	[[ $a == *-* && $b != *-* ]]
}

caddy_module=github.com/caddyserver/caddy/v2
modules='popauth http.handlers.pop_server http.handlers.pop_auth popauth.stores.file popauth.stores.memory'

demo=
version=
for arg in "$@"; do
	if [[ $arg == demo && -z $demo ]]; then
		demo=yes
	elif [[ $arg =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ && -z $version ]]; then
		version=$arg
	elif [[ $arg == -h || $arg == --help ]]; then
		usage
		exit 0
	else
		say "error: unknown argument '$arg'"
		say "usage: xcaddy-build.sh [demo] [vX.Y.Z]"
		exit 2
	fi
done

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
caller=$PWD
out=${OUT:-$root/caddy}
[[ $out == /* ]] || out=$caller/$out
[[ ! -d $out ]] || die "OUT is a directory: $out" "name the file, as in OUT=$out/caddy"
cd -- "$root"

# a go.work above this directory would mix foreign modules in
export GOWORK=off

need=$(sed -n 's/^go //p' go.mod)
command -v go >/dev/null || die "go is not on PATH" "install Go $need or newer from https://go.dev/dl/"
have=$(go env GOVERSION) || die "this go can't build a module that needs Go $need" "install Go $need or newer from https://go.dev/dl/, or let go fetch it: GOTOOLCHAIN=auto"
have=${have#go}
have=${have%% *}
if [[ $have =~ ^[0-9]+\.[0-9]+ ]] && older "${have/rc*/}" "$need"; then
	die "Go $have is too old: go.mod asks for $need" "install Go $need or newer from https://go.dev/dl/"
fi

module=$(go list -m)
wanted=$(go list -m -f '{{.Version}}' "$caddy_module")
version=${version:-$wanted}
if older "${version#v}" "${wanted#v}"; then
	die "Caddy $version is older than $wanted, which go.mod asks for" "go never selects less than a module requires: leave the version away, or take a newer one"
fi

xcaddy=${XCADDY:-}
if [[ -z $xcaddy ]]; then
	xcaddy=$(command -v xcaddy || true)
elif [[ $xcaddy == */* && $xcaddy != /* ]]; then
	xcaddy=$caller/$xcaddy
fi
[[ -z $xcaddy ]] || command -v "$xcaddy" >/dev/null || die "XCADDY is not a program: $xcaddy"

mkdir -p -- "$(dirname -- "$out")"
work=$(mktemp -d "${TMPDIR:-/tmp}/caddy-popauth.XXXXXX")
built=$out.building.$$
trap 'rm -rf -- "$work" "$built"' EXIT

with_xcaddy() {
	say "building Caddy $version with $xcaddy"
	cd -- "$work"
	"$xcaddy" build "$version" --with "$module@v0.0.0=$root" --output "$built"
}

# The go.mod of this module, under another name, names every version that was
# tested together, so nothing has to be resolved.
with_go() {
	say "building Caddy $version with go $have (xcaddy is not installed)"
	cp -- "$root/go.mod" "$root/go.sum" "$work"
	cd -- "$work"
	go mod edit -module=caddy -require="$module@v0.0.0" -replace="$module@v0.0.0=$root"
	cat >main.go <<-EOF
		package main

		import (
			caddycmd "$caddy_module/cmd"

			_ "$caddy_module/modules/standard"
			_ "$module"
		)

		func main() { caddycmd.Main() }
	EOF
	[[ $version == "$wanted" ]] || go get "$caddy_module@$version"
	CGO_ENABLED=0 go build -trimpath -ldflags '-w -s' -tags nobadger,nomysql,nopgx -o "$built" .
}

if [[ -n $xcaddy ]]; then (with_xcaddy); else (with_go); fi

# what was built is looked at before it takes the place of an older binary
got=$("$built" version)
[[ ${got%% *} == "$version" ]] || die "the binary is Caddy ${got%% *}, not $version"
list=$("$built" list-modules)
for m in $modules; do
	grep -qxF -- "$m" <<<"$list" || die "the binary lacks the module $m"
done
mv -f -- "$built" "$out"
say "built $out"

[[ -z $demo ]] || "$out" pop demo

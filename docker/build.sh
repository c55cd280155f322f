#!/usr/bin/env bash
# Builds the image of docker/Dockerfile with this machine's settings for npm, pip, apt and certificates.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: docker/build.sh [--tag NAME] [--base IMAGE] [--network MODE] [-- MORE DOCKER ARGUMENTS]

  --tag NAME       name of the image (default skein:local)
  --base IMAGE     Debian base (default debian:bookworm-slim, or skein-base:local where scripts/make-base.sh made it)
  --network MODE   network of the build; `host` where the bridge network does not reach the registries

Your .npmrc, pip.conf, apt's Acquire settings and the certificate bundle are handed to the build as secrets where they exist:
they are in no layer of the image. DOCKER names another docker client. About 3 minutes the first time.
HELP
}

die() { printf 'docker/build.sh: %s\n' "$*" >&2; exit 1; }

top=$(cd "$(dirname "$0")/.." && pwd)
docker=${DOCKER:-docker}
tag=skein:local base='' more=()
while [ $# -gt 0 ]; do
  case $1 in
    --tag | --base | --network) [ $# -ge 2 ] || die "$1 wants a value" ;;&
    --tag) tag=$2; shift 2 ;;
    --base) base=$2; shift 2 ;;
    --network) more+=(--network "$2"); shift 2 ;;
    --) shift; more+=("$@"); break ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown argument '$1'" ;;
  esac
done

timeout 20 "$docker" version >/dev/null 2>&1 || die "no Docker daemon answers through '$docker'; start one, or set DOCKER_HOST"
if [ -z "$base" ]; then
  base=debian:bookworm-slim
  if "$docker" image inspect skein-base:local >/dev/null 2>&1; then base=skein-base:local; fi
fi

given=$(mktemp -d "${TMPDIR:-/tmp}/skein-build.XXXXXX")
trap 'rm -rf "$given"' EXIT
secret() { # secret ID FILE...: the first file that exists
  local id=$1 file
  shift
  for file in "$@"; do
    if [ -f "$file" ] && [ -r "$file" ]; then more+=(--secret "id=$id,src=$file"); return 0; fi
  done
}
if command -v apt-config >/dev/null; then
  apt-config dump --no-empty --format '%F "%v";%n' Acquire |
    grep -E '^Acquire::(https?|Proxy|Retries|Force|Check-)' >"$given/apt" || true
  secret apt "$given/apt"
fi
secret npm "${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}"
secret pip "${PIP_CONFIG_FILE:-}" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf" /etc/pip.conf
secret ca "${NODE_EXTRA_CA_CERTS:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  if [ -n "${!name:-}" ]; then more+=(--build-arg "$name"); fi
done

DOCKER_BUILDKIT=1 "$docker" build --progress plain --file "$top/docker/Dockerfile" --build-arg "BASE=$base" --tag "$tag" \
  ${more[@]+"${more[@]}"} "$top"

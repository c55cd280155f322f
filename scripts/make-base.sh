#!/usr/bin/env bash
# Makes a Debian base image for docker/Dockerfile on this machine, where no image registry is reached.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: scripts/make-base.sh [--image NAME] [--suite SUITE] [--mirror URL] [--force]

Installs a minimal Debian in a temporary folder and imports it as an image. Does nothing where the image is there.

  --image NAME    name of the image (default skein-base:local)
  --suite SUITE   Debian release (default bookworm)
  --mirror URL    package mirror (default: the one this machine's apt uses for SUITE, else debootstrap's own)
  --force         make it again although it is there

Needs root, debootstrap and a Docker daemon. Gives up after 15 minutes. About 40 s and 120 MB.
Then: docker/build.sh --base NAME
HELP
}

die() { printf 'make-base: %s\n' "$*" >&2; exit 1; }

image=skein-base:local suite=bookworm mirror='' force=0
while [ $# -gt 0 ]; do
  case $1 in
    --image | --suite | --mirror) [ $# -ge 2 ] || die "$1 wants a value" ;;&
    --image) image=$2; shift 2 ;;
    --suite) suite=$2; shift 2 ;;
    --mirror) mirror=$2; shift 2 ;;
    --force) force=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown argument '$1'" ;;
  esac
done

docker=${DOCKER:-docker}
timeout 20 "$docker" version >/dev/null 2>&1 ||
  die "no Docker daemon answers; start one, or set DOCKER_HOST (apt-get install docker.io; systemctl start docker)"
if [ "$force" = 0 ] && "$docker" image inspect "$image" >/dev/null 2>&1; then
  echo "make-base: $image is there (--force makes it again)"
  exit 0
fi
[ "$(id -u)" = 0 ] || die 'debootstrap needs root; run this with sudo'
command -v debootstrap >/dev/null || die 'debootstrap is missing: apt-get install debootstrap'

if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $suite" 2>/dev/null | head -n 1 || true)
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/skein-base.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
started=$SECONDS
echo "make-base: installing Debian $suite (about 30 s)"
timeout --foreground 900 debootstrap --variant=minbase "$suite" "$root/rootfs" ${mirror:+"$mirror"} >"$root/log" 2>&1 || {
  tail -n 15 "$root/log" >&2
  die "debootstrap failed after $((SECONDS - started)) s; its last lines are above; is the mirror reached? (--mirror URL)"
}
rm -rf "$root"/rootfs/var/cache/apt/archives/*.deb "$root"/rootfs/var/lib/apt/lists/* "$root"/rootfs/var/log/*.log
tar -C "$root/rootfs" -c . | timeout 300 "$docker" import \
  --change 'CMD ["bash"]' --message "Debian $suite, minimal" - "$image" >/dev/null
echo "make-base: made $image in $((SECONDS - started)) s"

# Sourced by the other scripts: `need_packages WHY PACKAGE...` installs those Debian packages that are missing.
# As root through apt-get, else through sudo; without either it says what to install and stops. Downloads
# nothing when all are there.

need_packages() {
    why=$1
    shift
    missing=
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0

    as_root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "These packages are needed ($why):$missing" >&2
            echo "Ask your administrator, or as root: apt-get install$missing" >&2
            exit 1
        fi
        as_root=sudo
    fi
    echo "Installing ($why):$missing"
    $as_root apt-get update
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

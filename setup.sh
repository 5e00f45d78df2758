#!/bin/sh
# Set up this checkout: install missing Debian packages (asks first), create the virtual environment, install the locked
# dependencies. Idempotent, and quick when there is nothing to do. usage: setup.sh [-y] [--few]
#   -y: do not ask.  --few: only the packages for "every command"; lab, tests and bench need the others too.
set -eu
cd "$(dirname "$0")"
yes=${CI:+-y}
few=
for word; do
    case $word in
    -y) yes=-y ;;
    --few) few=yes ;;
    *) echo "setup: unknown argument $word; usage: setup.sh [-y] [--few]" >&2; exit 1 ;;
    esac
done

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $("$python" --version) is too old; provisioner needs Python 3.11 or later: set PYTHON=…" >&2
    exit 1
}

if command -v dpkg-query >/dev/null; then
    missing=
    while read -r package use; do
        case $package in '' | '#'*) continue ;; esac
        if [ -n "$few" ]; then
            case $use in "every command:"*) ;; *) continue ;; esac
        fi
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
    done <debian-packages.txt
    if [ -n "$missing" ]; then
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
        [ -z "$sudo" ] || command -v sudo >/dev/null || {
            echo "setup: installing packages requires root, and sudo is not installed; as root: apt-get install$missing" >&2
            exit 1
        }
        echo "setup: missing Debian packages (debian-packages.txt says what each is for):$missing"
        if [ -z "$yes" ]; then
            [ -t 0 ] || { echo "setup: stdin is not a terminal; use ./setup.sh -y, or apt-get install$missing" >&2; exit 1; }
            printf 'setup: install them now? [Y/n] '
            read -r answer
            case $answer in '' | [yY]*) ;; *) echo "setup: canceled; nothing was changed" >&2; exit 1 ;; esac
        fi
        # Do not start the services of these packages (sshd): this machine is not a node.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
            $sudo chmod 755 $policy
            trap '$sudo rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
        fi
        $sudo apt-get -q update
        # shellcheck disable=SC2086 # word splitting intended
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends $missing
        # Nor at the next boot: tests start what they need. Services of packages that were installed before are kept.
        for package in $missing; do
            case $package in
            openssh-server) units="ssh.service ssh.socket" ;;
            keepalived | docker-registry | haproxy) units=$package.service ;;
            *) continue ;;
            esac
            for unit in $units; do
                [ ! -e "/lib/systemd/system/$unit" ] || $sudo systemctl --quiet disable "$unit"
            done
        done
    fi
else
    echo "setup: this is not Debian; install the equivalents of debian-packages.txt" >&2
fi

# Recreate the environment when the lock file or the interpreter has changed.
want=$(cat requirements.lock pyproject.toml setup.sh | sha256sum | cut -d' ' -f1)-$("$python" --version | tr -d ' ')
if [ "$(cat .venv/complete 2>/dev/null)" != "$want" ]; then
    echo "setup: creating .venv"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$want" >.venv/complete
fi

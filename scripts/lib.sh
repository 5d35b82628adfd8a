# Functions that the scripts share. Source this file, do not run it. Every script may run twice; the second run changes nothing.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE="$ROOT/.jelmore"                  # files created at run time; never committed
BASE_IMAGE=debian:trixie-slim           # the base of every Dockerfile

# say TEXT: print a line of progress to standard error, because standard output holds results.
say() { printf '» %s\n' "$*" >&2; }

# die TEXT: print what is wrong and what to do next, in one line, and exit.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

PROGRESS_S=10                           # seconds between two lines of progress where no terminal shows it

# watched LOG COMMAND…: run a command with its output in LOG and show its newest step meanwhile, on one line of a terminal or else on a line
# every PROGRESS_S seconds. Returns the command's status.
watched() {
    local log=$1 status=0 watcher
    shift
    : >"$log"
    show_steps "$log" "$$" &
    watcher=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    return "$status"
}

# show_steps LOG PID: print the newest step in LOG until process PID has ended.
show_steps() {
    local step shown="" printed_at=$SECONDS
    while sleep 1 && kill -0 "$2" 2>/dev/null; do
        step=$(newest_step "$1")
        [[ -n $step ]] || continue
        if [[ -t 2 ]]; then
            printf '\r\033[K» %.100s (%s s)' "$step" "$SECONDS" >&2
        elif [[ $step != "$shown" ]] && ((SECONDS - printed_at >= PROGRESS_S)); then
            say "$step ($SECONDS s)"
            shown=$step printed_at=$SECONDS
        fi
    done
}

# newest_step LOG: print the last step that BuildKit, the classic builder, pip or apt has logged, in one form.
newest_step() {
    tail -c 65536 "$1" 2>/dev/null | tr -d '\r' | sed -nE \
        -e 's|^#[0-9]+ \[([^]]* )?([0-9]+/[0-9]+)\] *(.*)$|step \2: \3|p' \
        -e 's|^Step ([0-9]+/[0-9]+) : (.*)$|step \1: \2|p' \
        -e 's/^ *((Collecting|Downloading|Installing collected|Unpacking|Setting up|Get:[0-9]+) .*)$/\1/p' |
        tail -n 1 | cut -c 1-100
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [[ $(id -u) -eq 0 ]]; }

# os_release NAME: print a field of /etc/os-release; empty if there is none.
os_release() { (. /etc/os-release 2>/dev/null && printf '%s' "${!1:-}") || true; }

# can_apt: succeed if this user can install Debian packages on this machine.
can_apt() { have apt-get && is_root; }

# apt_install PACKAGE…: install packages. On failure, print the last lines of apt's output.
apt_install() {
    local log="$STATE/log/apt.log"
    mkdir -p "$STATE/log"
    DEBIAN_FRONTEND=noninteractive watched "$log" apt-get install -y --no-install-recommends "$@" || {
        tail -n 5 "$log" >&2
        die "apt-get could not install $*; see $log"
    }
}

# apt_lists: fetch the package lists, once per run of the calling script. A failing third-party repository does not stop the script.
apt_lists() {
    [[ -z ${apt_lists_fetched:-} ]] || return 0
    say "fetching the package lists (apt-get update)"
    mkdir -p "$STATE/log"
    apt-get update >"$STATE/log/apt-update.log" 2>&1 </dev/null || say "apt-get update had errors; going on with what it got"
    apt_lists_fetched=yes
}

# apt_candidate PACKAGE: print the version that apt would install; empty if there is none.
apt_candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)' || true; }

# version_at_least HAVE WANT: succeed if the dotted version HAVE is at least WANT.
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# within SECONDS COMMAND…: repeat the command until it succeeds; fail after that many seconds.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

# engine_answers: succeed if a Docker engine answers at the client's configured address.
engine_answers() { have docker && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# setting NAME: print the value of a setting from the environment, else from .env; empty if it is in neither.
setting() {
    local line
    if [[ -n ${!1:-} ]]; then
        echo "${!1}"
    elif [[ -f $ROOT/.env ]]; then
        line=$(sed -nE "s/^(export )?$1=//p" "$ROOT/.env" | tail -n 1)
        line=${line%$'\r'}
        case "$line" in # as Compose reads it: a comment follows a space, but not inside of quotes
        \"*) line=${line#\"} line=${line%%\"*} ;;
        \'*) line=${line#\'} line=${line%%\'*} ;;
        *)
            line=${line%%[[:space:]]#*}
            line=${line%"${line##*[![:space:]]}"}
            ;;
        esac
        echo "$line"
    fi
}

# keep_store_passwords: write a random password for each store without one into .env, so that no two deployments share one.
keep_store_passwords() {
    local name
    for name in POSTGRES_PASSWORD REDIS_PASSWORD NATS_PASSWORD; do
        [[ -z $(setting "$name") ]] || continue
        (umask 077 && touch "$ROOT/.env")
        # An editor may have left the last line open: what is appended to it would become a part of its value.
        [[ -z $(tail -c 1 "$ROOT/.env") ]] || echo >>"$ROOT/.env"
        # NATS reads a word that begins with a digit as a number.
        echo "$name=p$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')" >>"$ROOT/.env"
        say "made a $name and put it into .env"
    done
}

# other_checkout: print the folder of another checkout whose deployment is on this engine under the same name; nothing if there is none.
# `up` would replace its services by ours, on its volumes. One whose folder is gone has been moved here; one that this user may
# not look into is there.
other_checkout() {
    local project folder folders found
    project=$(setting COMPOSE_PROJECT_NAME)
    folders=$(docker ps --all --filter "label=com.docker.compose.project=${project:-jelmore}" --filter label=com.docker.compose.config-hash \
        --format '{{.Label "com.docker.compose.project.working_dir"}}' | sort -u)
    while read -r folder; do
        [[ -n $folder && ! $folder -ef $ROOT ]] || continue
        found=$(LC_ALL=C stat "$folder/compose.yaml" 2>&1) || [[ $found == *"Permission denied"* ]] || continue
        echo "$folder"
        return
    done <<<"$folders"
}

# runner_variant: print the variant of the runner image that the settings name; `latest` if they name none of ours.
runner_variant() {
    case "$(setting JELMORE_RUNNER_IMAGE)" in
    jelmore/runner:build) echo build ;;
    *) echo latest ;;
    esac
}

# unknown_setting: print what is wrong with the first JELMORE_* of the environment or .env that nothing reads; nothing if all are known.
# Compose passes on the names that it knows: a mistyped one would silently disable a limit. A known name that ends with `_` is a prefix.
unknown_setting() {
    local known
    known=$(grep -ohE 'JELMORE_[A-Z0-9_]+' "$ROOT/docs/configuration.md" "$ROOT/session-manager/src/jelmore/settings_names.py" | sort -u)
    {
        compgen -e
        [[ ! -f $ROOT/.env ]] || sed -nE 's/^(export )?(JELMORE_[A-Za-z0-9_]+)=.*/\2/p' "$ROOT/.env"
    } | { grep '^JELMORE_.' || true; } | sort -u | known="$known" awk '
        function least(a, b, c) { return a < b ? (a < c ? a : c) : (b < c ? b : c) }
        function distance(a, b, i, j, d) {  # of Levenshtein
            for (i = 0; i <= length(a); i++) d[i, 0] = i
            for (j = 0; j <= length(b); j++) d[0, j] = j
            for (i = 1; i <= length(a); i++)
                for (j = 1; j <= length(b); j++)
                    d[i, j] = least(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (substr(a, i, 1) != substr(b, j, 1)))
            return d[length(a), length(b)]
        }
        BEGIN { count = split(ENVIRON["known"], names, "\n") }
        {
            near = ""; best = length($0) / 4
            for (n = 1; n <= count; n++) {
                if ($0 == names[n] || (names[n] ~ /_$/ && names[n] != "JELMORE_" && index($0, names[n]) == 1)) next
                if (names[n] !~ /_$/ && (far = distance($0, names[n])) <= best) { best = far; near = names[n] }
            }
            print $0 ": there is no such setting; " (near ? "did you mean " near "?" : "see docs/configuration.md")
            exit
        }'
}

# inline_settings: print the names of compose.yaml's settings that this shell sets and .env does not, or sets to another value.
inline_settings() {
    local name names=()
    while read -r name; do
        [[ -z ${!name:-} || ${!name} == "$(unset "$name" && setting "$name")" ]] || names+=("$name")
    done < <(grep -oE '\$\{[A-Z_]+|^ +JELMORE_[A-Z_]+:' "$ROOT/compose.yaml" | tr -d '${: ' | sort -u |
        grep -vE '^(JELMORE_BUILD_CA|JELMORE_BUILD_PIP_CONF|JELMORE_RUNNER_INPUTS|JELMORE_RUNNER_VARIANT|DOCKER_HOST|DOCKER_TLS_VERIFY|DOCKER_CERT_PATH)$')
    echo "${names[*]}"
}

# use_engine: make sure that an engine answers. Export the settings that say where it is for programs that read only the environment.
use_engine() {
    local name value
    for name in DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH; do
        value=$(setting "$name")
        [[ -z $value ]] || export "$name=$value"
    done
    "$ROOT/scripts/docker-engine"
    if [[ -z ${DOCKER_HOST:-} && ! -S /var/run/docker.sock ]]; then
        DOCKER_HOST=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
        export DOCKER_HOST
    fi
}

# alone NAME: hold a lock until the calling script ends, so that two scripts do not do the same work at the same time.
alone() {
    have flock || return 0
    mkdir -p "$STATE/locks"
    exec 9>"$STATE/locks/$1"
    flock -n 9 && return 0
    say "waiting for another $1 to finish"
    flock -w 1200 9 || die "another $1 has been running for 20 minutes; stop it and try again"
}

# digest_of PATH…: print one digest of the names and contents of all files below the paths, without Python's caches.
digest_of() {
    (cd "$ROOT" && find "$@" -type f ! -path '*/__pycache__/*' ! -path '*.egg-info/*' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-32)
}

# --- The Debian archive that this machine uses ------------------------------------------------------------------------------

# debian_mirror [SUFFIX]: print the address of apt's Debian mirror; SUFFIX "-security" selects the security archive.
# It comes from apt's configuration, so a local mirror, its proxy and its keys apply. JELMORE_DEBIAN_MIRROR overrides it; empty if unknown.
debian_mirror() {
    local suffix=${1:-}
    if [[ -z $suffix && -n ${JELMORE_DEBIAN_MIRROR:-} ]]; then
        echo "${JELMORE_DEBIAN_MIRROR%/}"
        return
    fi
    [[ $(os_release ID) == debian ]] && have apt-get || return 0
    apt-get update --print-uris 2>/dev/null |
        sed -nE "s|^'(https?://.*)/dists/$(os_release VERSION_CODENAME)$suffix/(In)?Release' .*|\1|p" | head -n 1
}

# archive_has MIRROR SUITE: succeed if the mirror has the suite. Uses apt's proxy and TLS settings.
archive_has() {
    local file
    file=$(mktemp)
    if timeout 30 /usr/lib/apt/apt-helper download-file "$1/dists/$2/InRelease" "$file" >/dev/null 2>&1; then
        rm -f "$file"
    else
        rm -f "$file"
        return 1
    fi
}

# debian_keyring: print the path of Debian's archive keys, if they are new enough for trixie.
debian_keyring() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    if [[ ! -f /usr/share/keyrings/debian-archive-trixie-stable.gpg ]] && can_apt; then
        apt_lists
        apt_install debian-archive-keyring
    fi
    [[ -f $keyring ]] || die "no Debian archive keys here; install the package debian-archive-keyring"
    echo "$keyring"
}

# --- Builds --------------------------------------------------------------------------------------------------------------------

# lend_build_settings: export where a build finds this machine's certificates and pip settings (as build secrets, never in the image).
lend_build_settings() {
    local bundle conf="$STATE/build/pip.conf"
    for bundle in "${JELMORE_BUILD_CA:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem /dev/null; do
        [[ -z $bundle || ! -r $bundle ]] || break
    done
    mkdir -p "$STATE/build"
    chmod 700 "$STATE/build"
    (umask 077 && pip_settings >"$conf.new" && mv "$conf.new" "$conf")
    export JELMORE_BUILD_CA=$bundle JELMORE_BUILD_PIP_CONF=$conf
}

# pip_config: print what pip is configured with here; nothing on a machine without pip, as a server of the deployment may be.
pip_config() {
    local python
    for python in "$ROOT/.venv/bin/python" python3; do
        ! "$python" -m pip config list 2>/dev/null || return 0
    done
}

# pip_settings: print this machine's pip index as a pip.conf. Leaves out indexes in local folders, which a build cannot read.
pip_settings() {
    echo "[global]"
    pip_config |
        sed -nE "s/^(global|install|:env:)\.(index-url|extra-index-url|proxy|timeout|trusted-host)='(.*)'$/\2 \3/p" |
        while read -r name words; do
            local kept=() word
            for word in $words; do [[ $word == file:* || $word == /* ]] || kept+=("$word"); done
            ((${#kept[@]} == 0)) || echo "$name = ${kept[*]}"
        done | sort -u -k 1,1
}

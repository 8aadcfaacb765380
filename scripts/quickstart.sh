#!/usr/bin/env bash
# From a bare Debian 12 to a deployed agent and a virtual machine: installs packages, builds, finds or starts a Docker
# Engine, starts the daemon, deploys examples/agent and shows its health, builds a small image and runs a command in a
# VM of it, with KVM or without.
#
#   scripts/quickstart.sh          again is quick and harmless
#   scripts/quickstart.sh --down   stops and removes what it made (not the packages, not the build)
#
# What it makes is below QUICKSTART_DIR (default /var/lib/minions-quickstart); the daemon listens on
# QUICKSTART_BIND (default 127.0.0.1:3000). QUICKSTART_BUILD names a finished build to use instead of building,
# QUICKSTART_RECIPES other recipes for the VM's image. Needs root, or takes it through sudo.
set -euo pipefail

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

self=$(realpath "${BASH_SOURCE[0]}")
root=$(dirname "$(dirname "$self")")
# shellcheck source=scripts/packages.sh
source "$root/scripts/packages.sh"

down=no
case ${1:-} in
'') ;;
--down) down=yes ;;
-h | --help) usage && exit 0 ;;
*) echo "error: unknown option '$1'" >&2 && usage >&2 && exit 2 ;;
esac

if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || { echo "error: run this as root, or install sudo" >&2 && exit 1; }
    exec sudo --preserve-env=QUICKSTART_DIR,QUICKSTART_BIND,QUICKSTART_BUILD,QUICKSTART_RECIPES,DEBIAN_MIRROR "$self" "$@"
fi
exec </dev/null
cd "$root"

dir=$(realpath -m "${QUICKSTART_DIR:-/var/lib/minions-quickstart}")
bind=${QUICKSTART_BIND:-127.0.0.1:3000}
url=http://$bind
minions=${QUICKSTART_BUILD:-$root/build/release}/bin/minions
image=python:3.11-slim
agent=sample-agent
vm=sample-vm
vm_image=minimal
bridge="minions-qs0"
bridge_address=172.31.255.1/24
# TABLE CHAIN RULE…: what containers on that bridge need to reach out. Our engine makes no rules of its own, so that
# these are all that there is to take away.
rules=(
    "nat POSTROUTING -s $bridge_address ! -o $bridge -j MASQUERADE"
    "filter FORWARD -i $bridge -j ACCEPT"
    "filter FORWARD -o $bridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
)

say() { printf '== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2 && exit 1; }

# What root left in build/, the owner of the clone could not build over.
as_owner() { # as_owner COMMAND…: as the user whose clone this is
    local owner
    owner=$(stat -c %U "$root")
    if [[ $owner == root || $owner == UNKNOWN ]]; then
        "$@"
    else
        setpriv --reuid "$owner" --regid "$(stat -c %g "$root")" --init-groups --reset-env -- "$@"
    fi
}

# -- processes of ours: a file holds pid and start time, so that a pid in use by another is never taken for ours ------

started_at() { # the 22nd field of /proc/PID/stat; the command's name before it may hold spaces and brackets
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a fields <<<"${stat##*) }"
    echo "${fields[19]}"
}

alive() { # alive NAME: prints the pid of the process that NAME's file names, if it is that one and no zombie
    local pid start
    read -r pid start 2>/dev/null <"$dir/$1.pid" || return 1
    [[ -n $pid && $(started_at "$pid") == "$start" && $(tr -d '\0' <"/proc/$pid/cmdline") != "" ]] || return 1
    echo "$pid"
}

launch() { # launch NAME COMMAND…: in the background, detached, output to NAME.log, recorded in NAME.pid
    local name=$1
    shift
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid $(started_at "$pid")" >"$dir/$name.pid"
}

end() { # end NAME SECONDS: SIGTERM, and SIGKILL after SECONDS
    local pid
    if pid=$(alive "$1"); then
        kill -TERM "$pid"
        for ((i = 0; i < $2 * 10; i++)); do
            alive "$1" >/dev/null || break
            sleep 0.1
        done
        ! alive "$1" >/dev/null || kill -KILL "$pid"
    fi
    rm -f "$dir/$1.pid"
}

wait_for() { # wait_for SECONDS NAME COMMAND…: until COMMAND succeeds; with NAME's log if it does not
    local seconds=$1 name=$2
    shift 2
    for ((i = 0; i < seconds * 10; i++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        alive "$name" >/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$dir/$name.log" >&2
    fail "$name did not come up; its log is $dir/$name.log"
}

# -- the engine -----------------------------------------------------------------------------------------------------

engine() { # engine METHOD PATH ARGUMENT…: asks it by its API; more arguments are curl's
    curl -sS -f -m 600 --unix-socket "$engine_socket" -X "$1" "http://localhost$2" "${@:3}"
}

choose_engine() { # sets engine_socket: of the engine that was used before, else the machine's own, else one of ours
    if [[ -s $dir/engine ]]; then
        read -r engine_socket <"$dir/engine"
        return
    fi
    engine_socket=/var/run/docker.sock
    engine GET /_ping >/dev/null 2>&1 || engine_socket=$dir/docker.sock
    echo "$engine_socket" >"$dir/engine"
}

start_engine() {
    choose_engine
    if engine GET /_ping -m 5 >/dev/null 2>&1; then
        say "using the Docker Engine at $engine_socket"
        return
    fi
    # Another one would not know the containers that this one has.
    [[ $engine_socket == "$dir"/* ]] ||
        fail "the engine at $engine_socket, used before, does not answer: start it (or delete $dir to forget about it)"
    # By hand, with data and a bridge of its own, with or without systemd, so that --down can take it away again.
    say "starting a Docker Engine below $dir"
    install_engine
    make_network
    launch dockerd dockerd --data-root "$dir/docker" --exec-root "$dir/docker-run" --pidfile "$dir/dockerd-own.pid" \
        --host "unix://$engine_socket" --bridge "$bridge" --iptables=false --ip6tables=false --ip-forward=false \
        --log-level warn
    wait_for 60 dockerd engine GET /_ping
}

each_rule() { # each_rule COMMAND: calls it with TABLE CHAIN RULE… for each of our rules
    local rule words
    for rule in "${rules[@]}"; do
        read -r -a words <<<"$rule"
        "$1" "${words[@]}"
    done
}

add_rule() { iptables -w -t "$1" -C "${@:2}" 2>/dev/null || iptables -w -t "$1" -I "${@:2}"; }

remove_rule() { iptables -w -t "$1" -D "${@:2}" 2>/dev/null || true; }

make_network() {
    if ! ip link show "$bridge" >/dev/null 2>&1; then
        ip link add "$bridge" type bridge
        ip address add "$bridge_address" dev "$bridge"
        ip link set "$bridge" up
    fi
    each_rule add_rule
    if [[ $(</proc/sys/net/ipv4/ip_forward) == 0 ]]; then
        touch "$dir/forwarding-set"
        echo 1 >/proc/sys/net/ipv4/ip_forward
    fi
}

remove_network() {
    each_rule remove_rule
    ip link delete "$bridge" 2>/dev/null || true
    # Another engine, started since then, needs it.
    if [[ -e $dir/forwarding-set ]] && ! pgrep -x dockerd >/dev/null; then
        echo 0 >/proc/sys/net/ipv4/ip_forward
    fi
}

load_base_image() {
    if engine GET "/images/$image/json" >/dev/null 2>&1; then return; fi
    [[ $engine_socket == "$dir"/* ]] || touch "$dir/image-made" # ours takes everything along
    engine POST "/images/create?fromImage=${image%:*}&tag=${image#*:}" -m 60 >/dev/null 2>&1 || true
    if engine GET "/images/$image/json" >/dev/null 2>&1; then
        say "pulled $image"
        return
    fi
    say "no registry in reach: making $image from Debian packages"
    local tar=$root/build/test-cache/python-3.11-slim.tar
    as_owner mkdir -p "$(dirname "$tar")"
    scripts/make-base-image.sh "$tar"
    # The changes are CMD ["python3"] and ENV LANG=C.UTF-8.
    engine POST "/images/create?fromSrc=-&repo=${image%:*}&tag=${image#*:}&$(
        )changes=CMD%20%5B%22python3%22%5D&changes=ENV%20LANG%3DC.UTF-8" \
        -H 'Content-Type: application/x-tar' -T "$tar" >/dev/null
    engine GET "/images/$image/json" >/dev/null || fail "the engine did not take $tar"
}

# -- the daemon and the agent -----------------------------------------------------------------------------------------

cli() { "$minions" --host "unix:$dir/run/minions.sock" "$@"; }

start_daemon() {
    if alive daemon >/dev/null; then
        say "the daemon runs already"
        return
    fi
    if curl -sf -m 5 "$url/healthz" >/dev/null 2>&1; then
        fail "something else answers at $url: stop it, or set QUICKSTART_BIND=127.0.0.1:PORT"
    fi
    say "starting the daemon"
    launch daemon "$minions" serve --config "$dir/minions.conf" --bind "$bind" --socket "$dir/run/minions.sock" \
        --state-dir "$dir/state" --run-dir "$dir/run" \
        --set "runtimes.docker.socket=$engine_socket" --set "images.default=$vm_image" --set network.bridge= \
        --set deployments.allowed_schemes=https,ssh,file \
        ${QUICKSTART_RECIPES:+--set "images.recipes_dir=$QUICKSTART_RECIPES"}
    wait_for 20 daemon curl -sf -m 5 --unix-socket "$dir/run/minions.sock" http://localhost/healthz
}

make_repository() { # the sample agent as a git repository, as somebody would have it at a forge
    local repository=$dir/repositories/agent.git
    [[ ! -d $repository ]] || return 0
    local work
    work=$(mktemp -d)
    cp examples/agent/* "$work/"
    (
        cd "$work"
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
        git init -q --initial-branch=main .
        git add .
        git -c user.name=quickstart -c user.email=quickstart@localhost commit -q -m "A sample agent"
        mkdir -p "$(dirname "$repository")"
        git clone -q --bare . "$repository"
    )
    rm -rf "$work"
    chmod -R a+rX "$dir/repositories"
}

deployed_container() { # the name of the agent's running container, if there is one
    curl -sf -m 10 "$url/api/v1/vm/list" | grep -o "jules-agent-$agent-[0-9]*" | sed -n 1p
}

deploy_agent() {
    if container=$(deployed_container) && [[ -n $container ]]; then
        say "the sample agent is deployed already: $container"
        return
    fi
    make_repository
    say "deploying file://$dir/repositories/agent.git"
    local reply
    reply=$(curl -sS -m 300 -X POST "$url/api/v1/vm/deploy" -H 'Content-Type: application/json' \
        -d "{\"repo_url\": \"file://$dir/repositories/agent.git\", \"agent_name\": \"$agent\"}")
    printf '%s\n' "$reply"
    container=$(deployed_container) || true
    [[ -n $container ]] || fail "the deployment failed; the daemon's log is $dir/daemon.log"
}

show() {
    say "its health, by curl $url/api/v1/vm/health/$container"
    local health
    for ((i = 0; i < 100; i++)); do # an agent needs a moment to listen
        health=$(curl -sf -m 10 "$url/api/v1/vm/health/$container")
        if [[ $health == *'"status_code":200'* ]]; then break; fi
        sleep 0.1
    done
    printf '%s\n' "$health"
    [[ $health == *'"status_code":200'* ]] || fail "the agent does not answer; see: $minions --host $url logs $container"
}

run_vm() {
    if ! cli image list | awk '{ print $1 }' | grep -qx "$vm_image"; then
        say "building the image $vm_image"
        cli image build --recipe minimal "$vm_image"
    fi
    if ! cli get "$vm" >/dev/null 2>&1; then
        say "creating the VM $vm (without KVM its CPU is emulated, and it takes some seconds)"
        cli create "$vm" --runtime qemu --cpus 1 --memory 256
    fi
    say "a command inside it: $minions exec $vm -- uname -a"
    cli exec "$vm" -- uname -a
}

say_more() {
    say "all of it, by the CLI"
    cli list
    cat <<TEXT

Try next:
  $minions --host $url exec $vm -- sh -c 'free; df -h /'
  $minions --host $url exec $container -- python -c 'print("hello from inside")'
  $minions --host $url logs $container
  curl $url/api/v1/vm/list
  curl -X POST $url/api/v1/vm/deploy -H 'Content-Type: application/json' \\
    -d '{"repo_url": "https://your.forge/your/agent.git", "agent_name": "my-agent"}'
  scripts/quickstart.sh --down
TEXT
}

# -- all down -------------------------------------------------------------------------------------------------------

remove_instances() { # all that this daemon knows, through it, so that nothing of anybody else is touched
    local listed names name left=()
    listed=$(cli list)
    mapfile -t names < <(awk 'NR > 1 { print $1 }' <<<"$listed") # the first line is the table's head
    for name in "${names[@]}"; do
        cli destroy "$name" || left+=("$name")
    done
    [[ ${#left[@]} == 0 ]] || fail "${left[*]} could not be removed, so all else stays, too; try again ($dir/daemon.log)"
}

take_down() {
    if [[ ! -d $dir ]]; then
        say "nothing to take down: there is no $dir"
        return
    fi
    if [[ ! -e $dir/.minions-quickstart ]]; then
        fail "$dir was not made by this script; it stays"
    fi
    # Only the engine and the daemon can remove what they made, so they have to run, whatever ended them.
    if [[ -e $dir/state/state.db || -e $dir/image-made ]]; then
        start_engine
    fi
    if [[ -e $dir/state/state.db ]]; then
        [[ -x $minions ]] || fail "$minions is gone, which alone knows what to remove: run scripts/quickstart.sh first"
        bind=127.0.0.1:0 url=http://$bind # nobody else asks it any more, and its port may be another's by now
        start_daemon
        say "removing what it runs"
        remove_instances
    fi
    end daemon 15
    if [[ -e $dir/image-made ]]; then
        engine DELETE "/images/$image" >/dev/null 2>&1 || say "$image is in use, and stays"
    fi
    end dockerd 30
    # containerd ends with its parent dockerd; one that a killed dockerd left is told by our directory.
    local pid
    for pid in $(pgrep -x containerd || true); do
        if [[ $(tr '\0' ' ' <"/proc/$pid/cmdline") == *"--config $dir/docker-run/"* ]]; then
            kill -TERM "$pid" || true
        fi
    done
    remove_network
    local point
    while read -r point; do
        umount -l "$point" || true
    done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$dir"
    say "removed $dir"
}

if [[ $down == yes ]]; then
    take_down
    exit 0
fi

build() {
    say "building"
    local launcher=()
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    as_owner cmake --preset release "${launcher[@]}" >"$dir/configure.log" 2>&1 ||
        { tail -n 30 "$dir/configure.log" && exit 1; }
    as_owner cmake --build --preset release --target minions minions-shim minions-agent plugin_docker plugin_qemu
}

install_packages "${packages_build[@]}" "${packages_runtime[@]}" "${packages_vm[@]}"
mkdir -p "$dir/run" "$dir/state"
touch "$dir/.minions-quickstart" "$dir/minions.conf"
chmod 755 "$dir"
[[ -n ${QUICKSTART_BUILD:-} ]] || build
start_engine
load_base_image
start_daemon
deploy_agent
show
run_vm
say_more

#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: slurm_local.sh install | start DIR | stop DIR
#
# Nothing outside DIR is written, and nothing listens where it need not: DIR holds the configuration,
# munge's key and socket, logs, and pid files by which `stop` finds the daemons. DIR and the
# folders above it must be searchable by all, or munge refuses its socket. `start` reads from the
# environment: SLURM_TEST_CPUS, SLURM_TEST_CTLD_PORT and SLURM_TEST_D_PORT.
set -euo pipefail
PATH=$PATH:/usr/sbin
here=${2:-}

fail() { echo "slurm_local.sh: $*" >&2; exit 1; }

await() {  # await SECONDS COMMAND...: until the command succeeds
    local deadline=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

install_packages() {
    apt-get update -qq
    # Containers keep packages from starting daemons; ours have their own key and ports anyway.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins
}

configure() {
    local host cpus memory listen=""
    host=$(hostname -s)
    cpus=${SLURM_TEST_CPUS:-$(nproc)}
    memory=$(awk '/^MemTotal/ {print int($2 / 1024) - 64}' /proc/meminfo)
    # Slurm binds to what the host's own name stands for: only where that is loopback can it be told.
    if getent ahostsv4 "$host" | grep -q '^127\.'; then
        listen="CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    fi
    : >"$here/gres.conf"
    cat >"$here/slurm.conf" <<CONF
ClusterName=innflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_TEST_CTLD_PORT:-16817}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
$listen
# A requeued job waits for its old credential to expire: 5 seconds in place of 120.
AuthInfo=socket=$here/munge.socket,cred_expire=5
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.own.pid
SlurmdPidFile=$here/slurmd.own.pid
MailProg=/bin/true
# Neither cgroups nor a data base.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
# The node may claim more CPUs than there are; memory is not counted.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2
PriorityType=priority/basic
ReturnToService=2
KillWait=5
# Ended jobs stay visible, for the sacct below.
MinJobAge=3600
# A job in "high" sends jobs in "main" back into the queue: first their --signal, then SIGTERM.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=$host NodeAddr=127.0.0.1 Port=${SLURM_TEST_D_PORT:-16818} CPUs=$cpus RealMemory=$memory
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
CONF
    # submitit asks sacct for states, and sacct asks a data base: this one asks the controller.
    cat >"$here/bin/sacct" <<'SACCT'
#!/usr/bin/env bash
echo "JobID|State|NodeList"
while (($#)); do
    case $1 in
        -j) scontrol show job -o "${2%%_*}" 2>/dev/null | awk '{
                delete value
                for (i = 1; i <= NF; i++) {
                    at = index($i, "="); key = substr($i, 1, at - 1)
                    if (at && !(key in value)) value[key] = substr($i, at + 1)
                }
                if (!("JobId" in value)) next
                task = value["ArrayTaskId"]
                id = value["JobId"]
                if ("ArrayJobId" in value)
                    id = value["ArrayJobId"] "_" (task ~ /^[0-9]+$/ ? task : "[" task "]")
                print id "|" value["JobState"] "|" value["NodeList"]
            }'
            shift 2 ;;
        *) shift ;;
    esac
done
SACCT
    chmod 755 "$here/bin/sacct"
}

launch() {  # launch NAME COMMAND...: a daemon in a session of its own
    local name=$1; shift
    setsid "$@" </dev/null >>"$here/$name.log" 2>&1 &
    echo $! >"$here/$name.pid"
}

pid_of() {  # of a daemon that still runs from this folder; a recycled pid does not count
    local pid
    pid=$(cat "$here/$1.pid" 2>/dev/null) || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$here" && echo "$pid"
}

give_up() {
    tail -n 20 "$here/$1.log" >&2
    stop
    fail "$1 did not come up"
}

start() {
    [[ ! -e $here ]] || fail "$here is there already"
    command -v munged slurmctld slurmd srun >/dev/null || fail "not installed: $0 install"
    umask 022
    mkdir -p "$here"/{bin,state,spool,key}
    chmod 700 "$here/state" "$here/key"
    configure
    (umask 077; head -c 1024 /dev/urandom >"$here/key/munge.key")
    launch munged munged --foreground --key-file="$here/key/munge.key" --socket="$here/munge.socket" \
        --pid-file="$here/munged.own.pid" --seed-file="$here/key/seed" --log-file="$here/munged.log"
    await 15 bash -c "munge -S '$here/munge.socket' -n | unmunge -S '$here/munge.socket'" || give_up munged
    export SLURM_CONF=$here/slurm.conf
    launch slurmctld slurmctld -D -f "$SLURM_CONF"
    await 20 bash -c "scontrol ping | grep -q 'is UP'" || give_up slurmctld
    launch slurmd slurmd -D -f "$SLURM_CONF" -N "$(hostname -s)"
    await 30 bash -c "sinfo -h -p main -o %t | grep -qx idle" || give_up slurmd
}

gone() { ! pid_of "$1"; }

stop() {
    local name
    export SLURM_CONF=$here/slurm.conf
    # Jobs first: what watches over them outlives slurmd. munged last: the others sign off by it.
    if pid_of slurmctld >/dev/null; then
        scancel --user="$(id -un)" 2>/dev/null || true
        await 20 bash -c '[[ -z $(squeue -h) ]]' || squeue >&2 || true
    fi
    for name in slurmd slurmctld munged; do
        if pid_of $name >/dev/null; then kill "$(pid_of $name)"; fi
    done
    for name in slurmd slurmctld munged; do
        await 15 gone $name || kill -KILL "$(pid_of $name)"
    done
}

case "${1:-}" in
    install) install_packages ;;
    start) [[ $here == /* ]] || fail "start takes an absolute path"; start ;;
    stop) [[ -d $here ]] || fail "no such folder: $here"; stop ;;
    *) fail "takes install, start DIR or stop DIR" ;;
esac

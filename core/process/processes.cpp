#include "core/process/processes.hpp"

#include "core/process/home.hpp"
#include "core/process/start_shim.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <system_error>

namespace minions::core {
namespace {

constexpr const char* kind = "process";
/// For the shim of a process that is gone: it drains the outputs and writes a small file.
constexpr std::chrono::seconds shim_time{3};

void send_kill(const Fd& process) {
    if (::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0U) != 0 && errno != ESRCH)
        throw error_from_errno(errno, "cannot end a process");
}

bool ends_until(const Fd& process, SteadyTime until) {
    pollfd entry{process.get(), POLLIN, 0};
    return poll_until(&entry, 1, until) > 0;
}

void check(const ProcessSpec& spec) {
    if (spec.argv.empty() || !spec.argv[0].starts_with('/'))
        throw Error{Code::invalid, fmt::format("the process '{}' has no absolute program path", spec.role)};
    const auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
    const bool bad_argument = std::any_of(spec.argv.begin(), spec.argv.end(), has_nul);
    const bool bad_variable = std::any_of(spec.env.begin(), spec.env.end(), [&](const auto& each) {
        return each.first.empty() || each.first.find('=') != std::string::npos || has_nul(each.first) ||
               has_nul(each.second);
    });
    if (bad_argument || bad_variable)
        throw Error{Code::invalid,
                    fmt::format("an argument or variable of the process '{}' cannot be passed", spec.role)};
}

/// Groups that may use the devices. Never root's: its files are not for a VMM.
std::vector<gid_t> groups_of(const std::vector<std::string>& devices) {
    std::vector<gid_t> groups;
    for (const std::string& device : devices) {
        struct stat status {};
        constexpr mode_t read_and_write = 060;
        if (::stat(device.c_str(), &status) == 0 && S_ISCHR(status.st_mode) && status.st_gid != 0 &&
            (status.st_mode & read_and_write) == read_and_write &&
            std::find(groups.begin(), groups.end(), status.st_gid) == groups.end())
            groups.push_back(status.st_gid);
    }
    return groups;
}

ShimRequest request(const ProcessHome& home, const ProcessSpec& spec, std::vector<Fd>&& pass) {
    ShimRequest wanted;
    wanted.directory = home.directory;
    wanted.role = spec.role;
    wanted.argv = spec.argv;
    for (const auto& [name, value] : spec.env) wanted.env.push_back(fmt::format("{}={}", name, value));
    if (::geteuid() == 0)
        wanted.identity =
            Identity{static_cast<uid_t>(home.uid), static_cast<gid_t>(home.gid), groups_of(spec.devices)};
    wanted.pass = std::move(pass);
    return wanted;
}

ProcessInfo info_of(const shim::ProcessRecord& record) {
    return {std::max<std::int64_t>(record.pid, 0), record.start_time};
}

}  // namespace

CallProcesses::CallProcesses(ProcessParts& parts, VmCall call) : parts_(parts), call_(std::move(call)) {}

RoleFiles CallProcesses::files(std::string_view role) const {
    return {home_paths(parts_.options, call_.instance).directory, role};
}

ProcessHome CallProcesses::home() {
    return make_home(parts_.store, parts_.options, call_.instance, call_.operation);
}

std::int64_t CallProcesses::intend(const std::string& role) {
    JournalRecord record;
    record.row.instance = call_.instance;
    record.row.kind = kind;
    record.row.key = role;
    record.operation = call_.operation;
    record.created_at = now_rfc3339();
    return parts_.store.transact([&](Transaction& transaction) {
        // One for each role: that of a process which ended by itself stands for the next one too.
        transaction.delete_journal("", call_.instance, kind, role);
        return transaction.insert_journal(record);
    });
}

void CallProcesses::forget(const std::string& role) {
    parts_.store.transact(
        [&](Transaction& transaction) { transaction.delete_journal("", call_.instance, kind, role); });
}

SupervisedProcess CallProcesses::start(const ProcessSpec& spec, std::vector<Fd> pass) {
    const RoleFiles files = this->files(spec.role);
    check(spec);
    const auto held = parts_.locks.hold(call_.instance, call_.ctx.deadline());
    call_.ctx.check();
    const ProcessHome home = this->home();
    const auto last = files.process();
    if (last && open_process(last->pid, last->start_time))
        throw Error{Code::conflict, fmt::format("a process '{}' of this VM lives already", spec.role),
                    "end it first"};
    if (files.locked()) end(files);  // nobody's: of a start that was cut off, or left behind
    MINIONS_FAILPOINT("process.intend.before");
    const std::int64_t row = intend(spec.role);
    try {
        MINIONS_FAILPOINT("process.spawn.before");
        files.remove();
        StartedProcess started(parts_.options, call_.ctx, request(home, spec, std::move(pass)));
        SupervisedProcess process{info_of(started.record()),
                                  parts_.supervisor.watch(files, started.record())};
        MINIONS_FAILPOINT("process.spawn.after");
        parts_.store.transact([&](Transaction& transaction) {
            transaction.hold_journal(row);
            hold_home(transaction, call_.instance);
        });
        MINIONS_FAILPOINT("process.keep.before");
        started.keep();
        MINIONS_FAILPOINT("process.keep.after");
        return process;
    } catch (...) {
        const Error failure = current_error();
        try {
            end(files);
            forget(spec.role);
        } catch (const Error&) {  // the row stays, and is undone with the instance
        }
        throw failure;
    }
}

std::optional<SupervisedProcess> CallProcesses::find(std::string_view role) {
    const RoleFiles files = this->files(role);
    const auto record = files.process();
    if (!record) return std::nullopt;
    return SupervisedProcess{info_of(*record), parts_.supervisor.watch(files, *record)};
}

void CallProcesses::kill(std::string_view role) {
    const RoleFiles files = this->files(role);
    const auto held = parts_.locks.hold(call_.instance, call_.ctx.deadline());
    MINIONS_FAILPOINT("process.kill.before");
    end(files);
    MINIONS_FAILPOINT("process.kill.after");
    forget(files.role());
}

void CallProcesses::end(const RoleFiles& files) {
    if (const auto record = files.process()) {
        const Fd process = open_process(record->pid, record->start_time);
        const Fd shim = open_process(record->shim_pid, record->shim_start_time);
        if (process) {
            send_kill(process);
            wait_gone(process, files.role());
        }
        if (shim && !ends_until(shim, std::min(call_.ctx.deadline(), deadline_in(shim_time)))) {
            call_.ctx.check();
            send_kill(shim);
            wait_gone(shim, "minions-shim");
        }
        parts_.supervisor.ended(*record, files.end_of(*record).value_or(ProcessEnd{}));
    }
    if (files.locked()) end_holders(files);
    files.remove();
}

void CallProcesses::end_holders(const RoleFiles& files) {
    for (const Fd& process : files.holders()) {
        send_kill(process);
        wait_gone(process, files.lock());
    }
    if (files.locked())
        throw Error{Code::failed,
                    fmt::format("something that the process '{}' left behind still holds {}", files.role(),
                                files.lock()),
                    fmt::format("fuser {} names it", files.lock())};
}

void CallProcesses::wait_gone(const Fd& process, std::string_view what) const {
    pollfd entries[] = {{process.get(), POLLIN, 0}, {call_.ctx.cancel_fd(), POLLIN, 0}};
    poll_until(entries, 2, call_.ctx.deadline());
    if (entries[0].revents != 0) return;
    call_.ctx.check();
    throw Error{Code::deadline, fmt::format("{} does not end", what)};
}

void CallProcesses::release(const JournalRow& row) {
    if (row.kind == kind) return kill(row.key);
    const auto held = parts_.locks.hold(call_.instance, call_.ctx.deadline());
    remove_home(parts_.options, row);
}

void CallProcesses::kill_all() {
    const auto rows = parts_.store.transact(
        [&](Transaction& transaction) { return transaction.journal_of_instance(call_.instance); });
    for (const JournalRecord& record : rows)
        if (record.runtime.empty() && record.row.kind == kind) kill(record.row.key);
}

}  // namespace minions::core

#include "core/process/role.hpp"

#include <minions/base/files.hpp>
#include <minions/base/spawn.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace minions::core {
namespace {

std::optional<std::string> read_if_there(const std::string& path) {
    try {
        return read_file(path, shim::most_record_bytes);
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) return std::nullopt;
        throw error_from_errno(error.code().value(), fmt::format("cannot read {}", path));
    }
}

/// Whether a process has this file open. False for one that is gone, or that may not be looked at.
bool has_open(const std::filesystem::path& process, const struct stat& file) {
    std::error_code error;
    std::filesystem::directory_iterator each(process / "fd", error);
    for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
        struct stat open {};
        if (::stat(each->path().c_str(), &open) == 0 && open.st_ino == file.st_ino &&
            open.st_dev == file.st_dev)
            return true;
    }
    return false;
}

/// The program that a process runs; empty where that cannot be known.
std::filesystem::path program_of(const std::filesystem::path& process) {
    std::error_code error;
    return std::filesystem::read_symlink(process / "exe", error);
}

bool is_role(std::string_view role) {
    return !role.empty() && role.size() <= 16 &&
           std::all_of(role.begin(), role.end(), [](char each) { return each >= 'a' && each <= 'z'; });
}

}  // namespace

Fd open_process(pid_t pid, std::uint64_t start_time) {
    if (pid <= 0) return {};
    Fd process = open_pidfd(pid);
    if (!process && errno != ESRCH && errno != EINVAL)
        throw error_from_errno(errno, fmt::format("cannot watch process {}", pid));
    // After the pidfd exists: from here on its number cannot be given to another unnoticed.
    if (process_start_time(pid) != start_time) return {};
    return process;
}

RoleFiles::RoleFiles(const std::filesystem::path& directory, std::string_view role)
    : role_(role), base_((directory / role_).string()) {
    if (!is_role(role))
        throw Error{Code::invalid, fmt::format("'{}' is no role of a process", role),
                    "a role has 1 to 16 letters from a to z"};
}

std::optional<shim::ProcessRecord> RoleFiles::process() const {
    const auto text = read_if_there(base_ + ".process");
    if (!text) return std::nullopt;
    auto record = shim::process_record(*text);
    if (!record || record->boot != shim::boot_id()) return shim::ProcessRecord{};
    return record;
}

std::optional<ProcessEnd> RoleFiles::end_of(const shim::ProcessRecord& process) const {
    const auto text = read_if_there(base_ + ".exit");
    if (!text) return std::nullopt;
    const auto record = shim::exit_record(*text);
    if (!record || record->pid != process.pid || record->start_time != process.start_time)
        return std::nullopt;
    ProcessEnd end;
    if (record->status.signal != 0) {
        end.signal = record->status.signal;
    } else {
        end.exit_code = record->status.code;
    }
    return end;
}

bool RoleFiles::locked() const {
    const Fd file(::open(lock().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) {
        if (errno == ENOENT) return false;
        throw error_from_errno(errno, fmt::format("cannot open {}", lock()));
    }
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return false;
    if (errno == EWOULDBLOCK) return true;
    throw error_from_errno(errno, fmt::format("cannot lock {}", lock()));
}

std::vector<Fd> RoleFiles::holders() const {
    std::vector<Fd> found;
    struct stat file {};
    if (::stat(lock().c_str(), &file) != 0) return found;
    // What this daemon starts has its files open for an instant, and is the same program until then.
    const std::filesystem::path own = program_of("/proc/self");
    for (const pid_t pid : process_ids()) {
        Fd process = open_pidfd(pid);
        const std::filesystem::path shown = fmt::format("/proc/{}", pid);
        if (process && has_open(shown, file) && program_of(shown) != own) found.push_back(std::move(process));
    }
    return found;
}

void RoleFiles::remove() const {
    // The lock last: as long as there is a record there is also what guards it.
    for (const char* suffix : {".process", ".exit", ".lock"}) {
        const std::string path = base_ + suffix;
        if (::unlink(path.c_str()) != 0 && errno != ENOENT)
            throw error_from_errno(errno, fmt::format("cannot remove {}", path));
    }
}

}  // namespace minions::core

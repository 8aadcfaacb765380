#include "core/process/home.hpp"

#include "core/process/role.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/files.hpp>
#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>

namespace minions::core {
namespace {

constexpr const char* kind = "directory";

bool is_root() { return ::geteuid() == 0; }

Fd open_directory(const std::string& path, int flags) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags));
    if (!fd) throw error_from_errno(errno, fmt::format("cannot open {}", path));
    return fd;
}

Fd make_directory(const std::string& path, int flags) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        throw error_from_errno(errno, fmt::format("cannot make {}", path));
    return open_directory(path, flags);
}

/// `vms` in the state or run directory: everybody passes, nobody else reads.
void make_parent(const std::string& path) {
    const Fd fd = make_directory(path, 0);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 ||
        ((status.st_mode & 07777U) != 0711 && ::fchmod(fd.get(), 0711) != 0))
        throw error_from_errno(errno, fmt::format("cannot protect {}", path));
}

void make_own(const std::string& path, gid_t group) {
    make_parent(std::filesystem::path(path).parent_path().string());
    const Fd fd = make_directory(path, O_NOFOLLOW);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        throw error_from_errno(errno, fmt::format("cannot look at {}", path));
    if (status.st_uid != ::geteuid())
        throw Error{Code::unavailable, fmt::format("{} belongs to user {}", path, status.st_uid),
                    "remove it: the daemon makes its own"};
    if (!is_root()) return;
    const mode_t mode = 0710;
    if (status.st_gid == group && (status.st_mode & 07777U) == mode) return;
    if (::fchown(fd.get(), 0, group) != 0 || ::fchmod(fd.get(), mode) != 0)
        throw error_from_errno(errno, fmt::format("cannot give {} to group {}", path, group));
}

JournalRecord intent(const std::string& instance, const std::string& operation, const std::string& path) {
    JournalRecord record;
    record.row.instance = instance;
    record.row.kind = kind;
    record.row.key = path;
    record.operation = operation;
    record.created_at = now_rfc3339();
    return record;
}

bool is_home(const JournalRecord& record) { return record.runtime.empty() && record.row.kind == kind; }

void refuse_if_locked(const std::filesystem::path& directory) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        if (entry.path().extension() != ".lock") continue;
        const RoleFiles files(directory, entry.path().stem().string());
        if (files.locked())
            throw Error{Code::conflict,
                        fmt::format("a process ('{}') still lives in {}", files.role(), directory.string())};
    }
}

}  // namespace

ProcessHome home_paths(const ProcessOptions& options, const std::string& instance) {
    if (!is_id(instance)) throw Error{Code::internal, fmt::format("'{}' is no id of an instance", instance)};
    ProcessHome home;
    home.uid = static_cast<std::int64_t>(::geteuid());
    home.gid = static_cast<std::int64_t>(::getegid());
    home.directory = (options.state_dir / "vms" / instance).string();
    home.run_directory = (options.run_dir / "vms" / instance).string();
    return home;
}

ProcessHome make_home(Store& store, const ProcessOptions& options, const std::string& instance,
                      const std::string& operation) {
    ProcessHome home = home_paths(options, instance);
    const std::vector<std::string> paths{home.directory, home.run_directory};
    store.transact([&](Transaction& transaction) {
        if (is_root()) {
            const std::int64_t slot = transaction.vm_slot(instance, options.uid_count);
            if (slot >= options.uid_count)
                throw Error{Code::no_space, fmt::format("all {} users for VMs are in use", options.uid_count),
                            "destroy VMs, or widen vms.uid_count"};
            home.uid = options.uid_first + slot;
            home.gid = options.uid_first;
        }
        const auto rows = transaction.journal_of_instance(instance);
        for (const std::string& path : paths) {
            const bool known = std::any_of(rows.begin(), rows.end(), [&](const JournalRecord& record) {
                return is_home(record) && record.row.key == path;
            });
            if (!known) transaction.insert_journal(intent(instance, operation, path));
        }
    });
    MINIONS_FAILPOINT("process.home.before");
    // Also where the rows are old: the run directory does not survive a reboot.
    for (const std::string& path : paths) make_own(path, static_cast<gid_t>(home.gid));
    MINIONS_FAILPOINT("process.home.after");
    return home;
}

void hold_home(Transaction& transaction, const std::string& instance) {
    for (const JournalRecord& record : transaction.journal_of_instance(instance))
        if (is_home(record) && !record.row.held) transaction.hold_journal(record.row.id);
}

void remove_home(const ProcessOptions& options, const JournalRow& row) {
    const ProcessHome home = home_paths(options, row.instance);
    const std::filesystem::path path(row.key);
    if (row.key != home.directory && row.key != home.run_directory) {
        // Another daemon's settings made it. Once it is gone there is nothing to undo.
        struct stat status {};
        if (::lstat(row.key.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) return;
        throw Error{Code::failed,
                    fmt::format("{} is not below 'state_dir' or 'run_dir' as they are now", row.key),
                    "set them back, or remove the directory"};
    }
    refuse_if_locked(path);
    const std::string parent = path.parent_path().string();
    const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory && errno == ENOENT) return;
    if (!directory) throw error_from_errno(errno, fmt::format("cannot open {}", parent));
    try {
        remove_tree(directory.get(), row.instance);
    } catch (const std::system_error& error) {
        throw error_from_errno(error.code().value(), fmt::format("cannot remove {}", row.key));
    }
}

}  // namespace minions::core

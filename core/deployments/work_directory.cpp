#include "core/deployments/work_directory.hpp"

#include "core/deployments/git.hpp"
#include "core/store/ids.hpp"

#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <system_error>
#include <thread>

namespace minions::core {
namespace {

constexpr const char* kind = "directory";
constexpr std::string_view name_prefix = "minions-deployment-";

/// A row is only trusted to name what this code makes.
void require_ours(const std::filesystem::path& path) {
    if (!path.is_absolute() || !path.filename().string().starts_with(name_prefix)) {
        throw Error(Code::internal, fmt::format("{} is no directory of a deployment", path.string()));
    }
}

/// Removes a directory that one of our rows names. Something may still write into it for a moment (a helper
/// of git's that outlived it), so an ENOTEMPTY gets a second chance.
void remove_directory(const std::filesystem::path& path) {
    require_ours(path);
    const Fd parent(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent) {
        if (errno == ENOENT) return;
        throw error_from_errno(errno, fmt::format("cannot open {}", path.parent_path().string()));
    }
    for (int attempt = 0;; ++attempt) {
        try {
            remove_tree(parent.get(), path.filename());
            return;
        } catch (const std::system_error& error) {
            if (error.code().value() != ENOTEMPTY || attempt == 5) {
                throw error_from_errno(error.code().value(), fmt::format("cannot remove {}", path.string()));
            }
            std::this_thread::sleep_for(milliseconds(50));
        }
    }
}

/// Whether the process works in the directory or below it, and belongs to `uid`.
bool works_in(pid_t pid, const std::filesystem::path& directory, uid_t uid) {
    const Fd process(::open(fmt::format("/proc/{}", pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat info {};
    if (!process || ::fstat(process.get(), &info) != 0 || info.st_uid != uid) return false;
    std::string cwd(PATH_MAX, '\0');
    const auto size = ::readlinkat(process.get(), "cwd", cwd.data(), cwd.size());
    if (size <= 0) return false;
    cwd.resize(static_cast<std::size_t>(size));
    return cwd == directory.native() || cwd.starts_with(directory.native() + "/");
}

/// Kills the process if it is still the one that works in the directory, and waits for its end. Returns
/// whether there was one.
bool end_process(pid_t pid, const std::filesystem::path& directory, uid_t uid) {
    // Opened before the look: a number that is given away meanwhile is then another's, and is not hit.
    const Fd pidfd = open_pidfd(pid);
    if (!pidfd || !works_in(pid, directory, uid)) return false;
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    pollfd ended{pidfd.get(), POLLIN, 0};
    poll_until(&ended, 1, deadline_in(std::chrono::seconds(5)));
    return true;
}

/// Ends what a daemon that died left at work in a clone's directory: git, its helpers, the shell around ssh,
/// with token or key in their hands. They are known by their directory, which only they enter.
void end_processes_in(const std::filesystem::path& given) {
    struct stat info {};
    std::error_code error;
    const auto directory = std::filesystem::canonical(given, error);
    if (error || ::stat(directory.c_str(), &info) != 0) return;
    // Again until none is found: one that is being killed may just have started another.
    for (int round = 0, found = 1; found > 0 && round < 20; ++round) {
        found = 0;
        for (const pid_t pid : process_ids())
            if (end_process(pid, directory, info.st_uid)) ++found;
    }
}

void make_directory(const std::filesystem::path& path, const std::optional<Identity>& identity) {
    if (::mkdir(path.c_str(), 0700) != 0) {
        throw error_from_errno(errno, fmt::format("cannot make the directory {}", path.string()));
    }
    if (!identity) return;
    const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory || ::fchown(directory.get(), identity->uid, identity->gid) != 0) {
        throw error_from_errno(errno, fmt::format("cannot give {} to the user of git", path.string()));
    }
}

}  // namespace

WorkDirectory::WorkDirectory(Store& store, const DeploymentOptions& options, const std::string& operation,
                             const std::string& deployment)
    : store_(store),
      path_(std::filesystem::absolute(options.work_dir) / (std::string(name_prefix) + deployment)) {
    const auto identity = git_identity(options);
    JournalRecord record;
    record.row.kind = kind;
    record.row.key = path_;
    record.operation = operation;
    record.created_at = now_rfc3339();
    row_ = store_.transact([&](Transaction& transaction) { return transaction.insert_journal(record); });
    try {
        make_directory(path_, identity);
        store_.transact([&](Transaction& transaction) { transaction.hold_journal(row_); });
    } catch (...) {
        const Error error = current_error();
        try {
            remove();
        } catch (
            const Error&) {  // NOLINT(bugprone-empty-catch): the row stays, and the next start tries again
        }
        throw error;
    }
}

WorkDirectory::~WorkDirectory() {
    try {
        remove();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the row stays
    }
}

void WorkDirectory::remove() {
    if (row_ == 0) return;
    remove_directory(path_);
    store_.transact([&](Transaction& transaction) { transaction.delete_journal(row_); });
    row_ = 0;
}

std::vector<std::string> remove_abandoned_directories(Store& store) {
    std::vector<std::string> complaints;
    const auto rows = store.transact([](Transaction& transaction) { return transaction.journal(); });
    for (const auto& record : rows) {
        if (!record.runtime.empty() || record.row.kind != kind) continue;
        try {
            require_ours(record.row.key);
            end_processes_in(record.row.key);
            remove_directory(record.row.key);
            store.transact([&](Transaction& transaction) { transaction.delete_journal(record.row.id); });
        } catch (const Error& error) {
            complaints.push_back(error.message());
        }
    }
    return complaints;
}

}  // namespace minions::core

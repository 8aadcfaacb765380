#include "core/store/state_files.hpp"

#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace minions::core {

namespace {

Fd open_or_throw(const std::filesystem::path& path, int flags, mode_t mode = 0) {
    Fd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd) throw error_from_errno(errno, fmt::format("cannot open {}", path.string()));
    return fd;
}

std::string holder_of(int lock) {
    char text[32] = {};
    const ssize_t got = ::pread(lock, text, sizeof text - 1, 0);
    return got > 0 ? fmt::format(" (process {})", text) : "";
}

Cipher::Key make_key(const std::filesystem::path& file) {
    Cipher::Key key{};
    random_bytes(key.data(), key.size());
    const std::filesystem::path made = file.string() + ".new";
    ::unlink(made.c_str());
    {
        const Fd fd = open_or_throw(made, O_WRONLY | O_CREAT | O_EXCL, 0600);
        try {
            write_all(fd.get(), key.data(), key.size());
        } catch (const std::system_error& error) {
            throw error_from_errno(error.code().value(), fmt::format("cannot write {}", made.string()));
        }
        if (::fsync(fd.get()) != 0)
            throw error_from_errno(errno, fmt::format("cannot write {}", made.string()));
    }
    if (::rename(made.c_str(), file.c_str()) != 0)
        throw error_from_errno(errno, fmt::format("cannot make {}", file.string()));
    sync_path(file.parent_path());
    return key;
}

/// VMMs, which are other users, reach their own directories below this one. Its files protect themselves.
void let_others_pass(const std::filesystem::path& directory) {
    struct stat status {};
    if (::geteuid() != 0 || ::stat(directory.c_str(), &status) != 0) return;
    const mode_t passable = (status.st_mode & 07777U) | 0111U;
    if (passable != (status.st_mode & 07777U) && ::chmod(directory.c_str(), passable) != 0)
        throw error_from_errno(errno, fmt::format("cannot let others pass {}", directory.string()));
}

}  // namespace

Fd lock_directory(const std::filesystem::path& directory) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(directory, ignored)) {
        std::filesystem::create_directories(directory.parent_path(), ignored);
        if (::mkdir(directory.c_str(), 0700) != 0)
            throw error_from_errno(errno,
                                   fmt::format("cannot make the state directory {}", directory.string()));
    }
    let_others_pass(directory);
    Fd lock = open_or_throw(directory / "lock", O_RDWR | O_CREAT, 0600);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            throw error_from_errno(errno, fmt::format("cannot lock {}", directory.string()));
        throw Error{Code::conflict,
                    fmt::format("another daemon{} uses the state directory {}", holder_of(lock.get()),
                                directory.string()),
                    "stop it, or give this one a directory of its own with --state-dir"};
    }
    // Only for people who wonder who holds it; the lock itself is what counts.
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(lock.get(), 0) == 0) (void)!::pwrite(lock.get(), pid.data(), pid.size(), 0);
    return lock;
}

Cipher::Key read_key(const std::filesystem::path& file, bool make) {
    struct stat status {};
    if (::lstat(file.c_str(), &status) != 0) {
        if (errno != ENOENT) throw error_from_errno(errno, fmt::format("cannot read {}", file.string()));
        if (make) return make_key(file);
        throw Error{Code::unavailable,
                    fmt::format("the key file {} is gone, and the database holds values that only it opens",
                                file.string()),
                    "restore it from a backup, or start over with an empty state directory"};
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & 077U) != 0 ||
        (status.st_uid != ::geteuid() && status.st_uid != 0))
        throw Error{Code::unavailable,
                    fmt::format("the key file {} is not a file that only its owner can read", file.string()),
                    fmt::format("chmod 600 {}, and treat its values as seen by others", file.string())};
    const Fd fd = open_or_throw(file, O_RDONLY);
    Cipher::Key key{};
    char more = 0;
    if (::read(fd.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()) ||
        ::read(fd.get(), &more, 1) != 0)
        throw Error{Code::unavailable, fmt::format("the key file {} does not have 32 bytes", file.string()),
                    "restore it from a backup"};
    return key;
}

void protect_database(const std::filesystem::path& file) {
    const Fd fd = open_or_throw(file, O_RDWR | O_CREAT, 0600);
    if (::fchmod(fd.get(), 0600) != 0)
        throw error_from_errno(errno, fmt::format("cannot protect {}", file.string()));
    for (const char* suffix : {"-wal", "-shm"}) {
        const std::string beside = file.string() + suffix;
        if (::chmod(beside.c_str(), 0600) != 0 && errno != ENOENT)
            throw error_from_errno(errno, fmt::format("cannot protect {}", beside));
    }
}

void sync_path(const std::filesystem::path& path) {
    const Fd fd = open_or_throw(path, O_RDONLY);
    if (::fsync(fd.get()) != 0)
        throw error_from_errno(errno, fmt::format("cannot write {} to the disk", path.string()));
}

Reserve::Reserve(std::filesystem::path file, std::uint64_t bytes) : file_(std::move(file)), bytes_(bytes) {
    struct stat status {};
    held_ = bytes_ > 0 && ::stat(file_.c_str(), &status) == 0 &&
            static_cast<std::uint64_t>(status.st_blocks) * 512 >= bytes_;
    refill();
}

bool Reserve::release() noexcept {
    if (!held_) return false;
    held_ = false;
    return ::unlink(file_.c_str()) == 0;
}

void Reserve::refill() noexcept {
    if (held_ || bytes_ == 0) return;
    struct statvfs space {};
    if (::statvfs(file_.parent_path().c_str(), &space) != 0 || space.f_bavail * space.f_frsize < 2 * bytes_)
        return;
    const Fd fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return;
    held_ = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes_)) == 0;
    if (!held_) ::unlink(file_.c_str());
}

}  // namespace minions::core

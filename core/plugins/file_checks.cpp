#include "core/plugins/file_checks.hpp"

#include "core/plugins/description.hpp"

#include <minions/base/fd.hpp>

#include <fmt/format.h>

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

namespace minions::core {
namespace {

namespace fs = std::filesystem;

FileIdentity identity_from(const struct stat& status) {
    return {status.st_dev, status.st_ino, status.st_size, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
}

std::string words(int error) { return std::generic_category().message(error); }

template <class Id>
bool holds(const std::vector<Id>& ids, Id id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
}

/// `writable`: the bits of the mode, of those for group and others, that are no fault here.
void check_access(const struct stat& status, const std::string& path, const Trusted& trusted,
                  mode_t writable = 0) {
    if (!holds(trusted.users, status.st_uid)) {
        throw Refusal{
            "insecure",
            fmt::format("{} belongs to user {}, who could change it; give it to root: chown root {}", path,
                        status.st_uid, path)};
    }
    if ((status.st_mode & (S_IWGRP | S_IWOTH) & ~writable) != 0) {
        throw Refusal{"insecure",
                      fmt::format("{} can be written to by others than its owner (mode {:04o}); take that "
                                  "away: chmod go-w {}",
                                  path, status.st_mode & 07777U, path)};
    }
}

struct stat status_of(const fs::path& directory) {
    struct stat status {};
    if (::stat(directory.c_str(), &status) != 0) {
        throw Refusal{"load_failed", fmt::format("its directory {} cannot be read: {}; check its permissions",
                                                 directory.string(), words(errno))};
    }
    return status;
}

/// Checks a directory and all above it: who can write to one of them can put another plugin there.
void check_directories(const fs::path& directory, const Trusted& trusted) {
    check_access(status_of(directory), directory, trusted);
    for (fs::path above = directory; above.has_relative_path();) {
        above = above.parent_path();
        const auto status = status_of(above);
        mode_t writable = 0;
        if (holds(trusted.groups, status.st_gid)) writable = S_IWGRP;
        if ((status.st_mode & S_ISVTX) != 0) writable = S_IWGRP | S_IWOTH;
        check_access(status, above, trusted, writable);
    }
}

/// The ELF header of an open file, or nothing.
std::optional<Elf64_Ehdr> elf_header(int fd) {
    Elf64_Ehdr header{};
    if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return std::nullopt;
    if (std::memcmp(static_cast<const void*>(header.e_ident), ELFMAG, SELFMAG) != 0) return std::nullopt;
    return header;
}

void check_elf(int fd) {
    const auto header = elf_header(fd);
    if (!header)
        throw Refusal{"not_elf", "it is not a shared object; remove it, or install the plugin again"};
    const Fd own(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const auto mine = elf_header(own.get());
    if (mine &&
        (header->e_machine != mine->e_machine || header->e_ident[EI_CLASS] != mine->e_ident[EI_CLASS] ||
         header->e_ident[EI_DATA] != mine->e_ident[EI_DATA])) {
        throw Refusal{
            "wrong_machine",
            fmt::format("it was built for another machine (ELF machine {}, this is {}); install the package "
                        "for this architecture",
                        header->e_machine, mine->e_machine)};
    }
    if (header->e_type != ET_DYN)
        throw Refusal{
            "not_elf",
            "it is a program or object file, not a shared object; build it with minions_add_plugin"};
}

}  // namespace

Trusted Trusted::by_this_process() {
    Trusted trusted{{0, ::geteuid()}, {0, ::getegid()}};
    struct stat program {};
    if (::stat("/proc/self/exe", &program) == 0) {
        trusted.users.push_back(program.st_uid);
        trusted.groups.push_back(program.st_gid);
    }
    return trusted;
}

CheckedFile check_plugin_file(const std::string& path, const Trusted& trusted) {
    std::error_code failed;
    const auto real = fs::canonical(path, failed);
    if (failed) {
        throw Refusal{"load_failed",
                      fmt::format("it cannot be found: {}; check its permissions", failed.message())};
    }
    const Fd file(::open(real.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
        throw Refusal{"load_failed",
                      fmt::format("it cannot be read: {}; check its permissions", words(errno))};
    }
    if (!S_ISREG(status.st_mode)) throw Refusal{"not_elf", "it is no regular file; remove it"};
    check_access(status, real, trusted);
    check_directories(fs::path(path).parent_path(), trusted);
    check_directories(real.parent_path(), trusted);
    check_elf(file.get());
    return {real, identity_from(status)};
}

FileIdentity identity_of(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        throw Refusal{"changed", fmt::format("it disappeared while it was loaded ({}); restart the daemon",
                                             words(errno))};
    }
    return identity_from(status);
}

}  // namespace minions::core

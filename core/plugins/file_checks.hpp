#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace minions::core {

/// Which file was checked: to notice one that is replaced before it is loaded.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t changed_seconds = 0;
    std::int64_t changed_nanoseconds = 0;
    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// Who may have made what is loaded into this process: root, this process's user, and whoever owns its
/// program.
struct Trusted {
    std::vector<uid_t> users;
    std::vector<gid_t> groups;

    static Trusted by_this_process();
};

/// A file that may be loaded.
struct CheckedFile {
    std::string path;  ///< where it really is: no part is a link, so nobody can lead it elsewhere later
    FileIdentity identity;
};

/// Checks, without running anything of it, that a file may be loaded: a shared object for this machine, which
/// nobody but the trusted can change or replace. So they own it, its directory, the directory in which it was
/// found and all above these, and nobody else can write to the file or those two directories; above them,
/// sticky directories and those of a trusted group may be writable. `path` is absolute. Throws Refusal
/// (insecure, not_elf, wrong_machine, load_failed where it cannot be read).
CheckedFile check_plugin_file(const std::string& path, const Trusted& trusted);

/// What the file is now. Throws Refusal (changed) when it is gone.
FileIdentity identity_of(const std::string& path);

}  // namespace minions::core

#pragma once

#include <minions/base/fd.hpp>

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace minions {

/// Opens `path` below `directory`, following no link and never leaving it, whatever others rename meanwhile
/// (openat2, RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS). O_CLOEXEC is added. Throws std::system_error (ELOOP: a
/// link is in the way; EXDEV: it leads outside).
Fd open_beneath(int directory, const std::string& path, int flags, mode_t mode = 0);

/// Opens `path` as if `root` were the root directory (openat2, RESOLVE_IN_ROOT): links on the way are
/// followed, absolute ones and those through ".." too, and never lead out. O_CLOEXEC is added. Throws
/// std::system_error.
Fd open_in_root(int root, const std::string& path, int flags);

/// Removes `name` in `directory` and everything below it, following no link; mounts below make it fail
/// (EBUSY). That `name` does not exist is no error. Throws std::system_error with the path that resists; goes
/// on as far as it can.
void remove_tree(int directory, const std::string& name);

/// Replaces the file `path` by one of these contents, so that after a crash it is either the old or the new
/// one (temporary file beside it, fsync, rename, fsync of the directory). `mode` is exact, whatever the
/// umask. Throws std::system_error; then the old file stands and no temporary file is left.
void write_file_atomic(const std::string& path, std::string_view data, mode_t mode);

/// As write_file_atomic(), without waiting for the disk: a reader sees the old file or the new one, but a
/// crash of the whole machine may leave neither. For what means nothing after a reboot.
void replace_file(const std::string& path, std::string_view data, mode_t mode);

/// The contents of a file. Throws std::system_error (EFBIG if it is larger than `max` bytes).
std::string read_file(const std::string& path, std::size_t max);
/// The contents of an open file from its present position on.
std::string read_file(int fd, std::size_t max);

}  // namespace minions

#pragma once

#include "core/operations/operations.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core {

enum class DiskFormat { raw, qcow2, tar, tar_gz, tar_zst };

/// "raw", "qcow2", "tar", "tar.gz", "tar.zst"; nothing for other words.
std::optional<DiskFormat> disk_format_from_word(std::string_view word);
std::string_view word_of(DiskFormat format) noexcept;

/// What a file is by its first bytes; nothing if they do not say. A raw disk is known by its partition table
/// or its ext4 file system.
std::optional<DiskFormat> detect_disk_format(std::string_view head);

/// The size of a qcow2 disk. Throws invalid for one that needs further files (a backing file, an external
/// data file), is encrypted, or is none.
std::uint64_t check_qcow2(std::string_view head);

/// How much of a file the two above look at.
inline constexpr std::size_t disk_head_bytes = 4096;

/// Makes the file `disk` of the file `source`, which is used up. Both are in a private directory; work goes
/// on beside them. What reads bytes of strangers, but for our own tar reader, runs without rights. Throws
/// Error: invalid, too_large (`max_bytes` of the disk), no_space, unavailable (a program that is missing),
/// cancelled, deadline.
void import_disk(OperationContext& context, const std::filesystem::path& source, DiskFormat format,
                 const std::filesystem::path& disk, std::uint64_t max_bytes);

}  // namespace minions::core

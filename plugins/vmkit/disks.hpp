#pragma once

#include "plugins/vmkit/vmm.hpp"

#include <minions/context.hpp>

#include <cstdint>
#include <string>

namespace minions::vmkit {

constexpr std::uint64_t gib = std::uint64_t{1} << 30U;

/// Makes the disk of a machine in `directory`, copy-on-write over the image's: a reflink where the file
/// system has that ("disk.raw"), else a qcow2 overlay ("disk.qcow2"). It belongs to `home.uid` and has at
/// least `bytes`. A disk that is there already is replaced. Throws no_space.
Disk make_disk(const ProcessHome& home, const VmImage& image, std::uint64_t bytes);

std::uint64_t disk_bytes(const Disk& disk);
/// Makes the disk of a stopped machine larger; a size that it has already is no change.
void grow_disk(const Disk& disk, std::uint64_t bytes);

/// Copies a file with its holes, sharing blocks where the file system can. `to` must not exist; it gets mode
/// 0600 and that owner. Nothing may write to `from` meanwhile. Stops when ctx is to end. Throws no_space;
/// then `to` is gone.
void copy_file(const Context& ctx, const std::string& from, const std::string& to, const ProcessHome& owner);

}  // namespace minions::vmkit

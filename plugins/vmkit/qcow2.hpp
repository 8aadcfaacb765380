#pragma once

#include <cstdint>
#include <string>

namespace minions::vmkit {

/// Makes an empty qcow2 file of `size` bytes over a raw backing file, whose path and format are in its
/// header. The file must not exist; mode 0600. Format: QEMU's docs/interop/qcow2.txt, version 3, clusters of
/// 64 KiB. Throws Error{no_space}, std::system_error.
void make_qcow2(const std::string& path, std::uint64_t size, const std::string& backing);

/// The size of the disk in a file that make_qcow2() has made and a VMM may have written to. Throws
/// Error{failed} for anything else.
std::uint64_t qcow2_size(const std::string& path);

/// Makes the disk larger; nobody may have the file open. The new part reads as zeros. Throws Error{invalid}
/// beyond 64 TiB, and for a disk that a VMM has made larger before, beyond a multiple of 4 TiB.
void grow_qcow2(const std::string& path, std::uint64_t size);

}  // namespace minions::vmkit

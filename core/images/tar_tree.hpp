#pragma once

#include "core/images/image_files.hpp"

#include <minions/base/tar.hpp>

#include <cstdint>

namespace minions::core {

/// What a tree needs on a disk.
struct TreeSize {
    std::uint64_t bytes = 0;  ///< of contents, in blocks of 4 KiB
    std::uint64_t entries = 0;
};

/// Extracts the archive of another system's root file system into the empty `directory`: owners by number,
/// modes as they are, no devices, no extended attributes. Whatever links the archive holds, nothing is made
/// or changed outside of the directory. Needs root's rights, for the owners. Throws TarError, Error.
TreeSize extract_system(const TarReader::Source& source, int directory, const TarLimits& limits,
                        const StillWanted& still_wanted);

}  // namespace minions::core

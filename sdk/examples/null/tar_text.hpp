#pragma once

#include "null_instance.hpp"

#include <map>
#include <string>
#include <string_view>

namespace minions::examples {

/// The entries of a tar archive by their path without leading "./" or trailing "/". Understands ustar, and
/// the long names of pax and GNU. Throws invalid for what is no archive.
std::map<std::string, NullFile> read_tar(std::string_view archive);

/// A complete ustar archive (pax headers where names are long).
std::string write_tar(const std::map<std::string, NullFile>& entries);

}  // namespace minions::examples

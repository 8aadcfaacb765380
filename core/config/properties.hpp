#pragma once

#include <string>
#include <vector>

namespace minions::core {

/// One `key = value` of a properties file.
struct Property {
    std::string key;
    std::string value;
    int line = 0;
};

struct PropertyFile {
    std::vector<Property> properties;  ///< in the order of the file
    bool world_readable = false;
};

/// Reads a properties file: `key = value`, comments from `#` or `!` at the start of a line, `\` joins lines.
/// Throws Error: not_found, forbidden (cannot be read, or others may write it), invalid (a line that is
/// neither, a key that stands twice, a file that is none), each naming file and line.
PropertyFile read_properties(const std::string& path);

}  // namespace minions::core

#pragma once

#include <minions/abi.h>
#include <minions/value.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What a configuration key's text may look like.
enum class KeyType {
    string,
    integer,
    number,
    boolean,   ///< true, false, yes, no, on, off, 1, 0
    list,      ///< separated by commas; empty elements are dropped
    size,      ///< bytes; "64KiB", "16MiB", "2GiB" and the same without "iB" are understood
    duration,  ///< seconds; "500ms", "30s", "5m", "2h", "7d" are understood; kept in milliseconds
};

/// One row of the schema.
struct ConfigKey {
    std::string name;
    KeyType type = KeyType::string;
    std::string default_value;  ///< as it would stand in the file
    /// Inclusive bounds: of integers and numbers, of sizes in bytes, of durations in seconds.
    std::int64_t min = std::numeric_limits<std::int64_t>::min();
    std::int64_t max = std::numeric_limits<std::int64_t>::max();
    std::string doc;
    std::vector<std::string> words;  ///< where not empty: the only values (elements of lists) that there are
    bool secret = false;
    bool reloadable = false;
    bool required = false;
    /// Where set: throws Error as parse_config_value() does, for a string, an integer or an element of a list
    /// that the rules above let pass.
    void (*check)(std::string_view text) = nullptr;
};

/// The keys of core, in the order in which documentation shows them. [any thread]
const std::vector<ConfigKey>& core_schema();

/// A key of a plugin's descriptor, by its name inside `runtimes.<runtime>.`. Throws Error{invalid} for a type
/// that this version does not know.
ConfigKey config_key_of(const minions_config_key& key);

/// The word of a type ("list").
std::string_view to_word(KeyType type) noexcept;

/// Reads the text of a value: strings, integers (also of sizes, in bytes, and of durations, in milliseconds),
/// doubles, booleans or arrays of strings. Throws Error{invalid} whose message is a clause that follows the
/// name of the key: "must be an integer from 1 to 60, and is 'x'".
Value parse_config_value(const ConfigKey& key, std::string_view text);

/// The reference of all configuration keys, as Markdown. `runtimes` are the keys of known plugins by the name
/// of their runtime.
std::string configuration_markdown(
    const std::vector<std::pair<std::string, std::vector<ConfigKey>>>& runtimes);

}  // namespace minions::core

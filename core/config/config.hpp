#pragma once

#include "core/config/schema.hpp"

#include <minions/base/sync.hpp>
#include <minions/value.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions::core {

/// Where configuration comes from, weakest first: defaults, the file, the command line.
struct ConfigSources {
    std::string file;                 ///< empty: none
    bool file_may_be_absent = false;  ///< for the default path
    /// KEY and VALUE of --set and of options with a key of their own, in this order; the last of a key wins.
    std::vector<std::pair<std::string, std::string>> command_line;
};

/// The effective configuration. Thread-safe; getters copy.
///
/// Keys named in code are checked: a getter throws std::logic_error for one that the schema lacks or gives
/// another type, so that a test of the caller finds it.
class Config {
  public:
    /// Reads and checks every source. Throws Error{invalid} that names the place ("FILE:LINE"), the key and,
    /// for unknown keys, the nearest one; not_found for an absent file. Keys of runtimes are only collected:
    /// see configure().
    explicit Config(ConfigSources sources);

    std::string string(std::string_view key) const;
    std::int64_t integer(std::string_view key) const;
    bool boolean(std::string_view key) const;
    std::vector<std::string> list(std::string_view key) const;
    std::size_t size(std::string_view key) const;
    std::chrono::milliseconds duration(std::string_view key) const;

    /// "default", "FILE:LINE" or "command line".
    std::string source(std::string_view key) const;

    /// Joins the keys that a plugin declares to the schema and returns their values as one object, for the
    /// plugin's open(). Throws Error{invalid} for an unknown or bad key, naming its place; the runtime is
    /// refused then, and nothing else.
    Value configure(std::string_view runtime, const std::vector<ConfigKey>& keys);

    /// What an administrator should hear about: the file's mode, secrets others can read.
    std::vector<std::string> warnings() const;
    /// The same for keys of runtimes that nobody has claimed by configure(). Ask after plugins are loaded.
    std::vector<std::string> unclaimed() const;

    struct Item {
        std::string key;
        std::string value;  ///< as text, "***" for secrets
        std::string source;
        bool operator==(const Item&) const = default;
    };
    /// Every effective value, in the order of the schema; unclaimed keys of runtimes last, their values
    /// hidden since nobody can say whether they are secret.
    std::vector<Item> dump() const;

    struct Reloaded {
        std::vector<std::string> changed;        ///< reloadable keys that have a new value now
        std::vector<std::string> needs_restart;  ///< others whose value in the file differs
    };
    /// Reads the sources again. Throws as the constructor does, and then nothing has changed.
    Reloaded reload();

  private:
    struct Entry {
        std::string text;
        Value value;
        std::string source;
    };
    struct State {
        std::vector<ConfigKey> schema;
        std::map<std::string, Entry, std::less<>> values;       // one for each key of the schema
        std::map<std::string, Entry, std::less<>> of_runtimes;  // given keys below runtimes.<name>.
        std::set<std::string, std::less<>> claimed;             // names of runtimes
        std::vector<std::string> warnings;
    };
    static State read(const ConfigSources& sources);
    Value get(std::string_view key, KeyType type) const;

    const ConfigSources sources_;
    Sync<State> state_;
};

}  // namespace minions::core

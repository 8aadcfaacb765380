#pragma once

#include "core/plugins/runtimes.hpp"

#include <minions/abi.h>
#include <minions/codec.hpp>

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace minions {
template <>
struct EnumWords<core::RuntimeKind> {
    static constexpr std::string_view words[] = {"vm", "container"};
};
}  // namespace minions

namespace minions::core {

/// A configuration key that a plugin declares; minions_config_key as a value.
struct PluginConfigKey {
    std::string name;
    std::string type;
    std::string default_value;
    std::int64_t min = std::numeric_limits<std::int64_t>::min();
    std::int64_t max = std::numeric_limits<std::int64_t>::max();
    std::uint32_t flags = 0;  ///< MINIONS_CONFIG_…
    std::string doc;

    /// Its pointers are those of this object.
    minions_config_key as_c() const {
        return {name.c_str(), type.c_str(), default_value.c_str(), min, max, flags, doc.c_str()};
    }

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name);
        visit("type", self.type);
        visit("default", self.default_value);
        visit("min", self.min);
        visit("max", self.max);
        visit("flags", self.flags);
        visit("doc", self.doc);
    }
};

/// A plugin's descriptor, copied and checked.
struct PluginDescription {
    std::string name;
    std::string version;
    std::string description;
    RuntimeKind kind = RuntimeKind::container;
    std::vector<std::string> facets;
    std::vector<std::string> features;
    std::vector<PluginConfigKey> config_keys;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name);
        visit("version", self.version);
        visit("description", self.description);
        visit("kind", self.kind);
        visit("facets", self.facets);
        visit("features", self.features);
        visit("config_keys", self.config_keys);
    }
};

/// Why a plugin was not loaded: a word for programs and a sentence with its cure for people.
struct Refusal {
    std::string code;
    std::string reason;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("code", self.code);
        visit("reason", self.reason);
    }
};

/// The refusal with that code (open_failed, bad_config, malformed) for what `error` says, and with its hint
/// or, where it has none, what usually cures that code.
Refusal refusal_of(std::string_view code, const Error& error);

/// Checks a descriptor and copies it. Throws Refusal (abi_mismatch, malformed). A descriptor that lies about
/// its pointers crashes this: ask in a process that may.
PluginDescription read_description(const minions_plugin* plugin);

}  // namespace minions::core

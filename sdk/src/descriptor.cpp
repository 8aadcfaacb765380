#include "dispatcher.hpp"

#include <minions/plugin.hpp>

#include <fmt/format.h>

#include <limits>

namespace minions::detail {
namespace {

/// A default as it would stand in the configuration file.
std::string file_text(const Value& value) {
    if (const auto* text = value.if_string()) return *text;
    if (const auto* list = value.if_array()) {
        std::string joined;
        for (const auto& item : *list) {
            if (!joined.empty()) joined += ", ";
            joined += item.string_or("");
        }
        return joined;
    }
    return value.is_null() ? std::string() : to_json(value);
}

std::uint32_t flags_of(const Field& field) {
    std::uint32_t flags = 0;
    if (field.secret) flags |= MINIONS_CONFIG_SECRET;
    if (field.required) flags |= MINIONS_CONFIG_REQUIRED;
    return flags;
}

}  // namespace

Descriptor::Descriptor(const Identity& identity) {
    plugin_.magic = MINIONS_ABI_MAGIC;
    plugin_.abi_major = MINIONS_ABI_MAJOR;
    plugin_.abi_minor = MINIONS_ABI_MINOR;
    plugin_.size = sizeof(minions_plugin);
    plugin_.name = identity.name;
    plugin_.version = identity.version;
    plugin_.description = identity.description;
    plugin_.kind = static_cast<std::uint32_t>(identity.kind);
    plugin_.config_key_size = sizeof(minions_config_key);
}

void Descriptor::add_key(const char* name, const char* type, const Value& default_value, const Field& field) {
    minions_config_key key{};
    key.name = name;
    key.type = type;
    key.default_value = texts_.emplace_back(file_text(default_value)).c_str();
    key.min = field.min;
    key.max = field.max;
    key.flags = flags_of(field);
    key.doc = field.doc;
    keys_.push_back(key);
}

const minions_plugin* Descriptor::finish(decltype(minions_plugin::open) open) {
    facets_.push_back(nullptr);
    features_.push_back(nullptr);
    plugin_.facets = facets_.data();
    plugin_.features = features_.data();
    plugin_.config_keys = keys_.data();
    plugin_.config_key_count = keys_.size();
    plugin_.open = open;
    plugin_.call = &Dispatcher::call_from_host;
    return &plugin_;
}

}  // namespace minions::detail

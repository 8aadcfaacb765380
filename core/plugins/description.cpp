#include "core/plugins/description.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace minions::core {
namespace {

constexpr std::size_t longest_list = 256;
constexpr std::size_t largest_struct = 65536;
constexpr std::string_view key_types[] = {"string", "integer", "number", "boolean", "list"};

[[noreturn]] void malformed(std::string_view what) {
    throw Refusal{
        "malformed",
        fmt::format("its descriptor is malformed: {}; build the plugin against the SDK's headers", what)};
}

std::string text_of(const char* text, const char* field) {
    if (text == nullptr) malformed(fmt::format("'{}' is null", field));
    if (!is_utf8(text)) malformed(fmt::format("'{}' is not UTF-8", field));
    return text;
}

/// Lower-case letters, digits and dashes, starting with a letter: what configuration keys and paths can hold.
bool is_name(std::string_view name, std::string_view also) {
    if (name.empty() || name.size() > 32 || name[0] < 'a' || name[0] > 'z') return false;
    return std::all_of(name.begin(), name.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || also.find(c) != std::string_view::npos;
    });
}

std::vector<std::string> list_of(const char* const* list, const char* field) {
    if (list == nullptr) malformed(fmt::format("'{}' is null", field));
    std::vector<std::string> words;
    for (; *list != nullptr; ++list) {
        if (words.size() >= longest_list) malformed(fmt::format("'{}' has no end", field));
        words.push_back(text_of(*list, field));
    }
    return words;
}

/// What both sides know of a struct of the seam whose maker says that it has `size` bytes; the rest is zero.
template <class T>
T known_part(const void* from, std::size_t size) {
    T known{};
    std::memcpy(&known, from, std::min(size, sizeof known));
    return known;
}

PluginConfigKey key_of(const minions_config_key& key) {
    PluginConfigKey copy;
    copy.name = text_of(key.name, "config_keys.name");
    copy.type = text_of(key.type, "config_keys.type");
    copy.default_value = text_of(key.default_value, "config_keys.default_value");
    copy.min = key.min;
    copy.max = key.max;
    copy.flags = key.flags;
    copy.doc = text_of(key.doc, "config_keys.doc");
    if (!is_name(copy.name, "_.-"))
        malformed(fmt::format("'{}' is no name of a configuration key", copy.name));
    if (std::find(std::begin(key_types), std::end(key_types), copy.type) == std::end(key_types)) {
        malformed(fmt::format("the configuration key '{}' has the unknown type '{}'", copy.name, copy.type));
    }
    return copy;
}

void check_abi(const minions_plugin& plugin) {
    if (plugin.magic != MINIONS_ABI_MAGIC) malformed("it does not start with the magic number");
    if (plugin.abi_major != MINIONS_ABI_MAJOR) {
        throw Refusal{
            "abi_mismatch",
            fmt::format("it was built for version {}.{} of the plugin interface and this daemon speaks "
                        "{}.{}; build it against this version's SDK",
                        plugin.abi_major, plugin.abi_minor, MINIONS_ABI_MAJOR, MINIONS_ABI_MINOR)};
    }
    if (plugin.size < MINIONS_PLUGIN_SIZE_1_0 || plugin.size > largest_struct) {
        malformed(fmt::format("it has {} bytes instead of {} or more", plugin.size, MINIONS_PLUGIN_SIZE_1_0));
    }
}

std::vector<PluginConfigKey> keys_of(const minions_plugin& plugin) {
    std::vector<PluginConfigKey> keys;
    if (plugin.config_key_count == 0) return keys;
    if (plugin.config_key_count > longest_list) malformed("it has too many configuration keys");
    if (plugin.config_keys == nullptr) malformed("'config_keys' is null");
    const std::size_t step = plugin.config_key_size;
    if (step < MINIONS_CONFIG_KEY_SIZE_1_0 || step > largest_struct) {
        malformed(fmt::format("its configuration keys have {} bytes instead of {} or more", step,
                              MINIONS_CONFIG_KEY_SIZE_1_0));
    }
    const auto* next = reinterpret_cast<const char*>(plugin.config_keys);
    for (std::size_t i = 0; i < plugin.config_key_count; ++i, next += step) {
        keys.push_back(key_of(known_part<minions_config_key>(next, step)));
    }
    return keys;
}

struct Cure {
    std::string_view code;
    std::string_view words;
};

constexpr Cure cures[] = {
    {"open_failed", "correct what it says and restart the daemon, or report it to its author"},
    {"bad_config", "correct its runtimes.* keys in the configuration and restart the daemon"},
    {"malformed", "build the plugin against the SDK's headers"},
};

}  // namespace

Refusal refusal_of(std::string_view code, const Error& error) {
    std::string reason = error.what();
    const auto* cure = std::find_if(std::begin(cures), std::end(cures),
                                    [&](const Cure& known) { return known.code == code; });
    if (error.hint().empty() && cure != std::end(cures)) reason += fmt::format("; {}", cure->words);
    return {std::string(code), std::move(reason)};
}

PluginDescription read_description(const minions_plugin* plugin) {
    if (plugin == nullptr) malformed("the entry function returned null");
    check_abi(*plugin);
    const auto known = known_part<minions_plugin>(plugin, plugin->size);
    PluginDescription description;
    description.name = text_of(known.name, "name");
    if (!is_name(description.name, "-")) {
        malformed(fmt::format("'{}' is no name of a runtime (a-z, 0-9 and '-', a letter first, at most 32)",
                              description.name.substr(0, 64)));
    }
    description.version = text_of(known.version, "version");
    description.description = text_of(known.description, "description");
    if (known.kind != MINIONS_KIND_VM && known.kind != MINIONS_KIND_CONTAINER) {
        malformed(fmt::format("its kind is {}", known.kind));
    }
    description.kind = known.kind == MINIONS_KIND_VM ? RuntimeKind::vm : RuntimeKind::container;
    description.facets = list_of(known.facets, "facets");
    description.features = list_of(known.features, "features");
    description.config_keys = keys_of(known);
    if (known.open == nullptr || known.call == nullptr) malformed("'open' or 'call' is null");
    return description;
}

}  // namespace minions::core

#include "core/plugins/description.hpp"

#include <catch2/catch.hpp>

#include <functional>

using namespace minions;
using namespace minions::core;
using Catch::Matchers::Contains;

namespace {

/// The structs as headers of a later minor version may have them.
struct LaterKey {
    minions_config_key known;
    const char* unit;
};
struct LaterPlugin {
    minions_plugin known;
    const char* homepage;
};

const char* const none[] = {nullptr};
const LaterKey later_keys[] = {{{"first", "integer", "1", 0, 9, 0, "one"}, "ms"},
                               {{"second", "string", "x", 0, 0, 0, "two"}, "ms"}};

minions_plugin well_formed() {
    minions_plugin plugin{};
    plugin.magic = MINIONS_ABI_MAGIC;
    plugin.abi_major = MINIONS_ABI_MAJOR;
    plugin.abi_minor = MINIONS_ABI_MINOR;
    plugin.size = sizeof plugin;
    plugin.name = plugin.version = plugin.description = "x";
    plugin.kind = MINIONS_KIND_VM;
    plugin.facets = plugin.features = none;
    plugin.open = [](auto...) {};
    plugin.call = [](auto...) {};
    return plugin;
}

std::string refusal(const std::function<void(minions_plugin&)>& spoil) {
    auto plugin = well_formed();
    spoil(plugin);
    try {
        read_description(&plugin);
    } catch (const Refusal& refusal) {
        return refusal.reason;
    }
    return {};
}

}  // namespace

TEST_CASE("a plugin of a later minor version is read as far as this one knows") {
    LaterPlugin later{well_formed(), "https://example.org"};
    later.known.abi_minor = MINIONS_ABI_MINOR + 1;
    later.known.size = sizeof later;
    later.known.config_keys = &later_keys[0].known;
    later.known.config_key_count = 2;
    later.known.config_key_size = sizeof(LaterKey);
    const auto description = read_description(&later.known);
    REQUIRE(description.config_keys.size() == 2);
    CHECK(description.config_keys[0].max == 9);
    CHECK(description.config_keys[1].name == "second");
    CHECK(description.config_keys[1].doc == "two");
}

TEST_CASE("what 1.0 had is the least of a descriptor, whatever is appended later") {
    // Frozen with 1.0: plugins that were built then say these sizes for ever.
    CHECK(MINIONS_PLUGIN_SIZE_1_0 == 96);
    CHECK(MINIONS_CONFIG_KEY_SIZE_1_0 == 56);
    CHECK(MINIONS_HOST_SIZE_1_0 == 24);
    CHECK(refusal([](auto& plugin) { plugin.size = MINIONS_PLUGIN_SIZE_1_0; }).empty());
    CHECK_THAT(refusal([](auto& plugin) { plugin.size = MINIONS_PLUGIN_SIZE_1_0 - 1; }), Contains("or more"));
    CHECK_THAT(refusal([](auto& plugin) {
                   plugin.config_keys = &later_keys[0].known;
                   plugin.config_key_count = 1;
                   plugin.config_key_size = 8;
               }),
               Contains("configuration keys have 8 bytes"));
}
